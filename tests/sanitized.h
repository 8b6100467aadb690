/* SPDX-License-Identifier: MIT */
/*
 * With which sanitizer is this built? Some tests do what a sanitizer cannot let
 * them do: forbid system calls, bring a malloc() of their own, race on purpose. Those
 * skip under that sanitizer, and say so.
 */
#ifndef TESTS_SANITIZED_H
#define TESTS_SANITIZED_H

#if defined(__has_feature)
#define SANITIZED_FEATURE(name) __has_feature(name)
#else
#define SANITIZED_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SANITIZED_FEATURE(address_sanitizer)
#define WITH_ADDRESS_SANITIZER 1
#else
#define WITH_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZED_FEATURE(thread_sanitizer)
#define WITH_THREAD_SANITIZER 1
#else
#define WITH_THREAD_SANITIZER 0
#endif

/* gcc does not tell of this one; meson.build does. */
#ifdef S2_SANITIZE_UNDEFINED
#define WITH_UNDEFINED_SANITIZER 1
#else
#define WITH_UNDEFINED_SANITIZER 0
#endif

/*
 * gcc's ThreadSanitizer clears its records of what an munmap() was given before it asks
 * whether that succeeded, and ends the program at a length that no kernel accepts.
 */
#if WITH_THREAD_SANITIZER && !defined(__clang__)
#define SANITIZER_FORBIDS_BAD_MUNMAP 1
#else
#define SANITIZER_FORBIDS_BAD_MUNMAP 0
#endif

#endif /* TESTS_SANITIZED_H */
