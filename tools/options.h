/* SPDX-License-Identifier: MIT */
/*
 * What the subcommands' argp parsers share: checked numbers and gate names, and errors that are one
 * line naming the option.
 */
#ifndef STAGE2_TOOLS_OPTIONS_H
#define STAGE2_TOOLS_OPTIONS_H

#include <argp.h>
#include <stage2/mm.h>
#include <stdbool.h>
#include <stdint.h>

/* Plain decimal digits from @min to @max and nothing else; *@out is set only then. */
bool option_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/* A gate's name, as s2_gate_name() tells it. */
bool option_gate(const char *text, enum s2_gate *out);

/*
 * For parsers: as above, but a wrong value is reported under the option's name and EINVAL is
 * returned, for the parser to return in turn; 0 otherwise.
 */
error_t option_parse_number(const struct argp_state *state, const char *option, const char *text,
			    uint64_t min, uint64_t max, uint64_t *out);
error_t option_parse_real(const struct argp_state *state, const char *option, const char *text,
			  double min, double max, double *out);

/* Adds the gates named in "range,count", or "all", to *@gates, a mask of 1 << gate. */
error_t option_parse_gates(const struct argp_state *state, const char *option, const char *text,
			   unsigned int *gates);

/*
 * "stage2 replay: --vcpus: ..." on one line of stderr (@option may be NULL). Returns EINVAL for the
 * parser to return.
 */
error_t option_refuse(const struct argp_state *state, const char *option, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * argp_parse() with @name, as "stage2 replay", for the program's and one-line errors. Returns 0, or
 * 2 (the exit status) when a wrong option has been reported. --help prints and exits.
 *
 * @flags: argp's, as ARGP_IN_ORDER; 0 as a rule.
 */
int options_parse(const struct argp *argp, const char *name, unsigned int flags, int argc,
		  char **argv, void *input);

#endif
