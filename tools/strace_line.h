/* SPDX-License-Identifier: MIT */
/*
 * One line of strace's output, taken apart. Knows how strace writes and nothing about what the
 * calls mean: trace.c gives them their meaning. Everything is a span into the caller's text, which
 * need not end in a NUL byte and may contain them, so that a hostile file costs no memory here.
 */
#ifndef STAGE2_TOOLS_STRACE_LINE_H
#define STAGE2_TOOLS_STRACE_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strace_span {
	const char *p;
	size_t len;
};

enum strace_kind {
	STRACE_CALL,	   /* a system call, or its first or last part */
	STRACE_EXIT,	   /* +++ exited with 0 +++, +++ killed by SIGKILL +++ */
	STRACE_SUPERSEDED, /* +++ superseded by execve in pid N +++ */
	STRACE_NOTE,	   /* a signal, a message of strace's own, an empty line */
};

struct strace_line {
	enum strace_kind kind;
	uint32_t tid;	  /* 0: the line has no column for it */
	uint32_t by_tid;  /* STRACE_SUPERSEDED: the thread that called execve */
	uint64_t time_ns; /* since 1970, from -ttt */
	bool has_time;	  /* always so for STRACE_CALL */
	bool resumed;	  /* begins with <... NAME resumed> */
	bool unfinished;  /* ends with <unfinished ...> */
	bool detached;	  /* ends with <detached ...>: strace left before the call returned */
	struct strace_span name;
	struct strace_span text; /* what to parse, or to append to the part before it */
};

struct strace_call {
	struct strace_span name;
	struct strace_span args; /* between the outer parentheses */
	struct strace_span result;
	bool failed; /* -1 ENAME, or ? */
	uint64_t value;
	bool has_duration; /* from -T */
	uint64_t duration_ns;
};

/* Highest thread id Linux can be configured to hand out (PID_MAX_LIMIT). */
#define STRACE_TID_MAX 4194304u

/* Both return NULL, or in a few words what is wrong and what to do. */
const char *strace_line_read(struct strace_span line, struct strace_line *out);
const char *strace_call_read(struct strace_span text, struct strace_call *out);

/* Splits at the commas outside brackets, strings and comments. Returns how many it stored. */
unsigned int strace_args(struct strace_span args, struct strace_span *arg, unsigned int max);

/* Finds NAME=value in an argument list or in a structure. */
bool strace_field(struct strace_span text, const char *name, struct strace_span *value);

/* A decimal, 0x or NULL; an fd's path or a comment may follow. False if it overflows 64 bits. */
bool strace_number(struct strace_span text, uint64_t *value);

/* True if a word of A|B|0x4 is NAME, or is a number that has the bit. */
bool strace_has_flag(struct strace_span mask, const char *name, uint64_t bit);

/* True if the argument is NAME, or the number it stands for (strace -X raw, -X verbose). */
bool strace_is(struct strace_span arg, const char *name, uint64_t value);

/* Takes the next word off a mask A|B|C; false when there is none left. */
bool strace_next_flag(struct strace_span *mask, struct strace_span *word);

bool strace_span_is(struct strace_span s, const char *text);

#endif
