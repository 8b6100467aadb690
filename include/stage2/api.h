/* SPDX-License-Identifier: MIT */
/*
 * The mark of a public function. The library is compiled with hidden
 * visibility, so that a function without this mark is not part of the shared
 * library's interface, however it is named.
 */
#ifndef STAGE2_API_H
#define STAGE2_API_H

#define S2_API __attribute__((visibility("default")))

#endif /* STAGE2_API_H */
