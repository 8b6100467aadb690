/* SPDX-License-Identifier: MIT */
/*
 * argp follows each of its errors with a hint on a second line. A parent parser around each
 * subcommand's own takes its error stream away; getopt's line, which names the option, stays.
 */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool option_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (!*text)
		return false;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return false;
	}
	if (value < min || value > max)
		return false;
	*out = value;
	return true;
}

bool option_gate(const char *text, enum s2_gate *out)
{
	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++) {
		if (!strcmp(text, s2_gate_name((enum s2_gate)gate))) {
			*out = (enum s2_gate)gate;
			return true;
		}
	}
	return false;
}

error_t option_refuse(const struct argp_state *state, const char *option, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: %s%s", state->name, option ? option : "", option ? ": " : "");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return EINVAL;
}

error_t option_parse_number(const struct argp_state *state, const char *option, const char *text,
			    uint64_t min, uint64_t max, uint64_t *out)
{
	if (option_number(text, min, max, out))
		return 0;
	return option_refuse(state, option, "'%s' is not a number from %" PRIu64 " to %" PRIu64,
			     text, min, max);
}

error_t option_parse_real(const struct argp_state *state, const char *option, const char *text,
			  double min, double max, double *out)
{
	char *end;
	double value = strtod(text, &end);

	/* The comparison is false for a NaN. */
	if (end == text || *end || !(value >= min && value <= max))
		return option_refuse(state, option, "'%s' is not a number from %g to %g", text, min,
				     max);
	*out = value;
	return 0;
}

error_t option_parse_gates(const struct argp_state *state, const char *option, const char *text,
			   unsigned int *gates)
{
	if (!strcmp(text, "all")) {
		*gates = (1u << S2_NR_GATES) - 1;
		return 0;
	}
	for (const char *p = text;; p++) {
		char name[16];
		size_t len = strcspn(p, ",");
		enum s2_gate gate;

		snprintf(name, sizeof(name), "%.*s", (int)(len < sizeof(name) ? len : 15), p);
		if (len >= sizeof(name) || !option_gate(name, &gate))
			return option_refuse(
				state, option,
				"'%s' is not a gate; the gates are range, always, rwsem and count",
				text);
		*gates |= 1u << gate;
		p += len;
		if (!*p)
			return 0;
	}
}

static error_t quiet_parser(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	state->child_inputs[0] = state->input;
	state->err_stream = NULL;
	return 0;
}

int options_parse(const struct argp *argp, const char *name, unsigned int flags, int argc,
		  char **argv, void *input)
{
	struct argp_child children[] = { { .argp = argp }, { 0 } };
	const struct argp quiet = { .parser = quiet_parser, .children = children };
	char *own_name = argv[0];
	error_t error;

	/* argp only prints it. */
	argv[0] = (char *)name;
	error = argp_parse(&quiet, argc, argv, flags, NULL, input);
	argv[0] = own_name;
	return error ? 2 : 0;
}
