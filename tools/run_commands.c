/* SPDX-License-Identifier: MIT */
/* See run_commands.h. */
#include "run_commands.h"

#include "run_regular.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refuse(char *error, size_t len, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(char *error, size_t len, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, len, format, args);
	va_end(args);
	return -EINVAL;
}

static void free_command(struct run_command *command)
{
	for (size_t i = 0; command->argv && command->argv[i]; i++)
		free(command->argv[i]);
	free(command->argv);
	free(command->text);
}

void run_commands_clear(struct run_commands *commands)
{
	for (unsigned int i = 0; i < commands->nr; i++)
		free_command(&commands->command[i]);
	commands->nr = 0;
}

static char *join(int argc, char **argv)
{
	size_t size = 1;
	char *text, *end;

	for (int i = 0; i < argc; i++)
		size += strlen(argv[i]) + 1;
	text = malloc(size);
	if (!text)
		return NULL;
	end = text;
	*end = '\0';
	for (int i = 0; i < argc; i++) {
		if (i)
			*end++ = ' ';
		end = stpcpy(end, argv[i]);
	}
	return text;
}

int run_commands_add_words(struct run_commands *commands, int argc, char **argv, char *error,
			   size_t len)
{
	struct run_command *command = &commands->command[commands->nr];

	if (argc < 1 || !*argv[0])
		return refuse(error, len, "it names no program");
	if (argc > RUN_MAX_WORDS)
		return refuse(error, len, "more than %d words", RUN_MAX_WORDS);
	if (commands->nr == RUN_MAX_COMMANDS)
		return refuse(error, len, "more than %d commands", RUN_MAX_COMMANDS);
	*command = (struct run_command){ .text = join(argc, argv) };
	command->argv = calloc((size_t)argc + 1, sizeof(*command->argv));
	for (int i = 0; command->argv && i < argc; i++) {
		command->argv[i] = strdup(argv[i]);
		if (!command->argv[i])
			break;
	}
	if (command->text && command->argv && command->argv[argc - 1]) {
		commands->nr++;
		return 0;
	}
	free_command(command);
	refuse(error, len, "out of memory");
	return -ENOMEM;
}

/* Up to the quote's end, for which *@p is left; false: there is none. */
static bool copy_quoted(const char **p, char **to)
{
	char quote = *(*p)++;

	while (**p && **p != quote) {
		if (quote == '"' && **p == '\\' && ((*p)[1] == '"' || (*p)[1] == '\\'))
			(*p)++;
		*(*to)++ = *(*p)++;
	}
	return **p == quote;
}

/* One word, to @to, which it is not longer than; *@p is behind it afterwards. */
static bool copy_word(const char **p, char **to)
{
	for (; **p && !isspace((unsigned char)**p); (*p)++) {
		if (**p == '\'' || **p == '"') {
			if (!copy_quoted(p, to))
				return false;
			continue;
		}
		if (**p == '\\' && !*++(*p))
			return false;
		*(*to)++ = **p;
	}
	*(*to)++ = '\0';
	return true;
}

/* Splits @line in place of its own, @words; the number of them, or a negative errno. */
static int split(const char *line, char *words, char **argv, char *error, size_t len)
{
	int argc = 0;

	for (const char *p = line;;) {
		while (isspace((unsigned char)*p))
			p++;
		if (!*p || *p == '#')
			return argc;
		if (argc == RUN_MAX_WORDS)
			return refuse(error, len, "more than %d words", RUN_MAX_WORDS);
		argv[argc++] = words;
		if (!copy_word(&p, &words))
			return refuse(error, len,
				      "a quote or a backslash has nothing that ends it");
	}
}

/* A line of n bytes has words of n bytes at most, and a NUL for each: what divided them, or the
 * end. */
int run_commands_add_line(struct run_commands *commands, const char *line, char *error, size_t len)
{
	char *words = malloc(strlen(line) + 1);
	char **argv = calloc(RUN_MAX_WORDS, sizeof(*argv));
	int argc = -ENOMEM;

	if (words && argv)
		argc = split(line, words, argv, error, len);
	else
		refuse(error, len, "out of memory");
	if (argc > 0)
		argc = run_commands_add_words(commands, argc, argv, error, len);
	free(argv);
	free(words);
	return argc < 0 ? argc : 0;
}

/* Cuts @text at the ends of its lines. */
static int add_lines(struct run_commands *commands, char *text, const char *path, char *error,
		     size_t len)
{
	unsigned int number = 0;
	char *line, why[160];

	while ((line = strsep(&text, "\n"))) {
		int ret = run_commands_add_line(commands, line, why, sizeof(why));

		number++;
		if (!ret)
			continue;
		refuse(error, len, "%s:%u: %s", path, number, why);
		return ret;
	}
	return 0;
}

static int read_text(FILE *file, char *text, const char *path, char *error, size_t len)
{
	size_t got = fread(text, 1, RUN_MAX_FILE + 1, file);

	if (ferror(file))
		return refuse(error, len, "%s: it cannot be read: %m", path);
	if (got > RUN_MAX_FILE)
		return refuse(error, len, "%s: it is larger than %u bytes", path, RUN_MAX_FILE);
	if (memchr(text, '\0', got))
		return refuse(error, len, "%s: it is not a text file", path);
	text[got] = '\0';
	return 0;
}

int run_commands_add_file(struct run_commands *commands, const char *path, char *error, size_t len)
{
	unsigned int before = commands->nr;
	char *text = malloc(RUN_MAX_FILE + 2);
	int fd = run_regular_open(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	int ret;

	if (!text || !file) {
		ret = fd < 0 ? fd : -ENOMEM;
		refuse(error, len, "%s: %s", path, run_regular_error(ret));
	} else {
		ret = read_text(file, text, path, error, len);
	}
	if (!ret)
		ret = add_lines(commands, text, path, error, len);
	if (!ret && commands->nr == before)
		ret = refuse(error, len, "%s: there is no command in it", path);
	if (file)
		fclose(file);
	else if (fd >= 0)
		close(fd);
	free(text);
	return ret;
}
