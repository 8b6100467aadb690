/* SPDX-License-Identifier: MIT */
/*
 * A scanner rather than regular expressions: the text between the parentheses may hold strings,
 * comments and, with -y, paths, each of which may contain what would end the call. One pass, no
 * recursion and no copy, so a line of any length costs its length.
 */
#define _GNU_SOURCE
#include "strace_line.h"

#include <string.h>

#define NOT_STRACE "not a line that strace writes; record with strace -f -ttt -T -o FILE"

static struct strace_span span(const char *p, const char *end)
{
	return (struct strace_span){ p, (size_t)(end - p) };
}

static struct strace_span trim(struct strace_span s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.len--;
	}
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool strace_span_is(struct strace_span s, const char *text)
{
	return s.len == strlen(text) && !memcmp(s.p, text, s.len);
}

static bool eat(struct strace_span *s, const char *prefix)
{
	size_t n = strlen(prefix);

	if (s->len < n || memcmp(s->p, prefix, n))
		return false;
	s->p += n;
	s->len -= n;
	return true;
}

static bool eat_suffix(struct strace_span *s, const char *suffix)
{
	size_t n = strlen(suffix);

	if (s->len < n || memcmp(s->p + s->len - n, suffix, n))
		return false;
	s->len -= n;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Digits from the front of s. False if there are none or the number overflows. */
static bool eat_decimal(struct strace_span *s, uint64_t *value)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < s->len && is_digit(s->p[i]); i++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s->p[i] - '0'), &v))
			return false;
	s->p += i;
	s->len -= i;
	*value = v;
	return i > 0;
}

/* SECONDS.FRACTION to nanoseconds. What is finer than a nanosecond is dropped. */
static bool eat_seconds(struct strace_span *s, uint64_t *ns)
{
	uint64_t v, scale = 100000000;

	if (!eat_decimal(s, &v) || !s->len || s->p[0] != '.')
		return false;
	if (__builtin_mul_overflow(v, 1000000000, &v))
		return false;
	s->p++;
	s->len--;
	if (!s->len || !is_digit(s->p[0]))
		return false;
	for (; s->len && is_digit(s->p[0]); s->p++, s->len--) {
		if (__builtin_add_overflow(v, scale * (uint64_t)(s->p[0] - '0'), &v))
			return false;
		scale /= 10;
	}
	*ns = v;
	return true;
}

static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : end;
}

/* 3</dev/kvm<char 10:232>>, 4<TCP:[127.0.0.1:1->127.0.0.1:2]>; strace escapes < and > in paths. */
static const char *skip_fd_path(const char *p, const char *end)
{
	unsigned int depth = 0;

	for (; p < end; p++) {
		if (*p == '<')
			depth++;
		else if (*p == '>' && p[-1] != '-' && --depth == 0)
			return p + 1;
	}
	return end;
}

/*
 * Steps over one lexical element: a string, a comment, an fd's path or a single character.
 * @first is where the text begins, because an fd's path is told from a shift by its neighbours.
 */
static const char *skip_element(const char *first, const char *p, const char *end)
{
	const char *q;

	if (*p == '"')
		return skip_string(p, end);
	if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
		q = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
		return q ? q + 2 : end;
	}
	if (*p == '<' && p > first && is_digit(p[-1])) {
		if (end - p >= 2 && p[1] == '<')
			return p + 2;
		return skip_fd_path(p, end);
	}
	return p + 1;
}

static int bracket(char c)
{
	if (c == '(' || c == '[' || c == '{')
		return 1;
	if (c == ')' || c == ']' || c == '}')
		return -1;
	return 0;
}

static const char *read_tid(struct strace_span *s, uint32_t *tid)
{
	struct strace_span rest = *s;
	uint64_t v = 0;
	bool bracketed = eat(&rest, "[pid ");

	*tid = 0;
	rest = trim(rest);
	if (!bracketed && (!rest.len || !is_digit(rest.p[0])))
		return NULL;
	if (!eat_decimal(&rest, &v))
		return "the thread id is not a number that Linux hands out";
	/* Without a thread column the first number is the time stamp. */
	if (!bracketed && rest.len && rest.p[0] == '.')
		return NULL;
	if (bracketed ? !eat(&rest, "]") : (rest.len && rest.p[0] != ' '))
		return NOT_STRACE;
	if (!v || v > STRACE_TID_MAX)
		return "the thread id is not a number that Linux hands out";
	*tid = (uint32_t)v;
	*s = trim(rest);
	return NULL;
}

static const char *read_plus(struct strace_span text, struct strace_line *out)
{
	uint64_t v;

	if (!eat_suffix(&text, " +++"))
		return "the line does not end in +++; it was cut off or overwritten";
	out->kind = STRACE_EXIT;
	if (!eat(&text, "superseded by execve in pid "))
		return NULL;
	if (!eat_decimal(&text, &v) || !v || v > STRACE_TID_MAX)
		return "the thread id is not a number that Linux hands out";
	out->kind = STRACE_SUPERSEDED;
	out->by_tid = (uint32_t)v;
	return NULL;
}

static const char *read_name(struct strace_span *s, struct strace_span *name)
{
	size_t n = 0;

	while (n < s->len && is_word(s->p[n]))
		n++;
	*name = (struct strace_span){ s->p, n };
	s->p += n;
	s->len -= n;
	return n ? NULL : NOT_STRACE;
}

static const char *read_call_part(struct strace_span text, struct strace_line *out)
{
	const char *wrong;
	struct strace_span rest;

	out->kind = STRACE_CALL;
	out->resumed = eat(&text, "<... ");
	rest = text;
	wrong = read_name(&rest, &out->name);
	if (wrong)
		return wrong;
	if (!out->has_time)
		return out->resumed || (rest.len && rest.p[0] == '(')
			       ? "no time stamp; record with strace -ttt"
			       : NOT_STRACE;
	if (out->resumed) {
		if (!eat(&rest, " resumed>"))
			return "<... without NAME resumed>; the line was cut off or overwritten";
		text = rest;
	} else if (!rest.len || rest.p[0] != '(') {
		return "no ( after the name of the call; the line was cut off or overwritten";
	}
	out->unfinished = eat_suffix(&text, "<unfinished ...>");
	out->detached = eat_suffix(&text, "<detached ...>");
	while ((out->unfinished || out->detached) && text.len && text.p[text.len - 1] == ' ')
		text.len--;
	out->text = text;
	return NULL;
}

const char *strace_line_read(struct strace_span line, struct strace_line *out)
{
	struct strace_span s;
	const char *wrong;

	memset(out, 0, sizeof(*out));
	out->kind = STRACE_NOTE;
	if (line.len && line.p[line.len - 1] == '\r')
		line.len--;
	s = trim(line);
	if (!s.len || eat(&s, "strace: ") || eat(&s, "[ Process PID="))
		return NULL;
	wrong = read_tid(&s, &out->tid);
	if (wrong)
		return wrong;
	if (s.len && is_digit(s.p[0])) {
		out->has_time = eat_seconds(&s, &out->time_ns) && s.len && s.p[0] == ' ';
		if (!out->has_time)
			return "the time stamp is not SECONDS.MICROSECONDS; record with strace "
			       "-ttt";
		s = trim(s);
	}
	if (eat(&s, "+++ "))
		return read_plus(s, out);
	if (eat(&s, "--- "))
		return eat_suffix(&s, " ---")
			       ? NULL
			       : "the line does not end in ---; it was cut off or overwritten";
	if (eat(&s, "strace: ") || eat(&s, "[ Process PID="))
		return NULL;
	return read_call_part(s, out);
}

/* Where the bracket that opens at p closes, or NULL. */
static const char *closing(const char *p, const char *end)
{
	const char *first = p;
	size_t depth = 0;

	while (p < end) {
		int step = bracket(*p);

		if (step > 0)
			depth++;
		else if (step < 0 && --depth == 0)
			return p;
		p = skip_element(first, p, end);
	}
	return NULL;
}

/* <0.000071> at the end of the line. */
static void read_duration(struct strace_span rest, struct strace_call *out)
{
	const char *open;
	struct strace_span s;

	if (!eat_suffix(&rest, ">"))
		return;
	open = memrchr(rest.p, '<', rest.len);
	if (!open)
		return;
	s = span(open + 1, rest.p + rest.len);
	out->has_duration = eat_seconds(&s, &out->duration_ns) && !s.len;
	if (!out->has_duration)
		out->duration_ns = 0;
}

const char *strace_call_read(struct strace_span text, struct strace_call *out)
{
	const char *end = text.p + text.len, *close, *wrong;
	struct strace_span rest = text;

	memset(out, 0, sizeof(*out));
	wrong = read_name(&rest, &out->name);
	if (wrong)
		return wrong;
	if (!rest.len || rest.p[0] != '(')
		return "no ( after the name of the call; the line was cut off or overwritten";
	close = closing(rest.p, end);
	if (!close)
		return "the call's ) is missing; the line was cut off or overwritten";
	out->args = trim(span(rest.p + 1, close));
	rest = trim(span(close + 1, end));
	if (!eat(&rest, "= ") || !rest.len)
		return "no = RESULT after the call; the line was cut off or overwritten";
	out->result = trim(rest);
	read_duration(out->result, out);
	out->failed = out->result.p[0] == '-' || out->result.p[0] == '?';
	if (!out->failed && !strace_number(out->result, &out->value))
		return "the call's result is not a number; the line was cut off or overwritten";
	return NULL;
}

unsigned int strace_args(struct strace_span args, struct strace_span *arg, unsigned int max)
{
	const char *p = args.p, *end = args.p + args.len, *from = p;
	unsigned int n = 0;
	size_t depth = 0;

	if (!args.len)
		return 0;
	while (p < end && n < max) {
		int step = bracket(*p);

		if (step > 0)
			depth++;
		else if (step < 0 && depth)
			depth--;
		else if (*p == ',' && !depth) {
			arg[n++] = trim(span(from, p));
			from = p + 1;
		}
		p = skip_element(args.p, p, end);
	}
	if (n < max)
		arg[n++] = trim(span(from, end));
	return n;
}

/* From p to the comma or bracket that ends the value. */
static struct strace_span field_value(const char *p, const char *end)
{
	const char *first = p;
	size_t depth = 0;

	while (p < end) {
		int step = bracket(*p);

		if (!depth && (*p == ',' || step < 0))
			break;
		if (step > 0)
			depth++;
		else if (step < 0)
			depth--;
		p = skip_element(first, p, end);
	}
	return trim(span(first, p));
}

bool strace_field(struct strace_span text, const char *name, struct strace_span *value)
{
	const char *p = text.p, *end;

	/* A call without this argument: there is nothing to point into. */
	if (!text.len)
		return false;
	end = text.p + text.len;
	while (p < end) {
		struct strace_span here = span(p, end);
		bool at_start = p == text.p || p[-1] == '{' || p[-1] == ' ' || p[-1] == ',';

		if (at_start && eat(&here, name) && eat(&here, "=")) {
			*value = field_value(here.p, end);
			return true;
		}
		p = skip_element(text.p, p, end);
	}
	return false;
}

static int digit_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool eat_hex(struct strace_span *s, uint64_t *value)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < s->len && digit_value(s->p[i]) >= 0; i++) {
		if (v >> 60)
			return false;
		v = v << 4 | (uint64_t)digit_value(s->p[i]);
	}
	s->p += i;
	s->len -= i;
	*value = v;
	return i > 0;
}

bool strace_number(struct strace_span text, uint64_t *value)
{
	struct strace_span s = trim(text);

	if (eat(&s, "NULL"))
		*value = 0;
	else if (eat(&s, "0x") ? !eat_hex(&s, value) : !eat_decimal(&s, value))
		return false;
	return !s.len || s.p[0] == ' ' || s.p[0] == '<';
}

bool strace_next_flag(struct strace_span *mask, struct strace_span *word)
{
	const char *end = mask->p + mask->len, *bar, *note;

	if (!mask->len)
		return false;
	bar = memchr(mask->p, '|', mask->len);
	*word = span(mask->p, bar ? bar : end);
	*mask = bar ? span(bar + 1, end) : span(end, end);
	/* strace -X verbose adds the names in a comment; the number says it all. */
	note = memmem(word->p, word->len, "/*", 2);
	if (note) {
		*word = span(word->p, note);
		*mask = span(end, end);
	}
	*word = trim(*word);
	return true;
}

bool strace_has_flag(struct strace_span mask, const char *name, uint64_t bit)
{
	struct strace_span word;
	uint64_t v;

	while (strace_next_flag(&mask, &word))
		if (strace_span_is(word, name) || (strace_number(word, &v) && (v & bit)))
			return true;
	return false;
}

bool strace_is(struct strace_span arg, const char *name, uint64_t value)
{
	uint64_t v;

	return strace_span_is(arg, name) || (strace_number(arg, &v) && v == value);
}
