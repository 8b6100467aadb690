/* SPDX-License-Identifier: MIT */
/*
 * The mark of a public function. The library is compiled with hidden
 * visibility, so that a function without this mark is not part of the shared
 * library's interface, however it is named.
 */
#ifndef STAGE2_API_H
#define STAGE2_API_H

#define S2_API __attribute__((visibility("default")))

/* A part of functions that headers inline: never a function of its own, so that it has no linkage. */
#define S2_ALWAYS_INLINE extern inline __attribute__((gnu_inline, always_inline))

#endif /* STAGE2_API_H */
