/* SPDX-License-Identifier: MIT */
/*
 * preadv() and pwritev() of the whole program are our own, and go wrong when they are told
 * to. One thread at a time.
 */
#ifndef TESTS_POOL_FILE_FAULTS_H
#define TESTS_POOL_FILE_FAULTS_H

#include <stddef.h>
#include <sys/types.h>

struct file_faults {
	size_t at_most;	     /* bytes in one call; 0 for no limit */
	unsigned interrupts; /* so many calls fail by EINTR */
	int error;	     /* of all other calls */
	off_t room;	     /* nothing is written beyond that, by ENOSPC; 0 for no limit */
	off_t bad;	     /* what begins there cannot be written, by EIO; 0 for none */
};

extern struct file_faults fault;

#endif /* TESTS_POOL_FILE_FAULTS_H */
