/* SPDX-License-Identifier: MIT */
#ifndef TESTS_POOL_DESCRIPTORS_H
#define TESTS_POOL_DESCRIPTORS_H

/* How many descriptors this process has open, as a number to compare with another. */
unsigned open_descriptors(void);

#endif /* TESTS_POOL_DESCRIPTORS_H */
