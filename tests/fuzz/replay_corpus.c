/* SPDX-License-Identifier: MIT */
/*
 * Gives a fuzz target the files of the directories named, one after another, without
 * libFuzzer: what was found once is looked for in every `make check`. A crash names
 * its file, which is printed before it is tried.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Inputs are small by design; one that is not is there by mistake. */
#define TOO_LARGE (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int try_file(const char *path)
{
	uint8_t *data = malloc(TOO_LARGE), *exact;
	FILE *file = fopen(path, "rb");
	size_t size = file && data ? fread(data, 1, TOO_LARGE, file) : 0;
	int failed = !data || !file || ferror(file) || size == TOO_LARGE;

	if (file)
		fclose(file);
	/* Of the exact size, so that a sanitizer sees a read beyond the end. */
	exact = failed ? NULL : malloc(size ? size : 1);
	if (exact) {
		memcpy(exact, data, size);
		printf("%s, %zu bytes\n", path, size);
		fflush(stdout);
		LLVMFuzzerTestOneInput(exact, size);
	} else {
		fprintf(stderr, "%s: cannot be read, or has 1 MiB or more\n", path);
	}
	free(exact);
	free(data);
	return exact ? 0 : -1;
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The number of inputs, or -1. In the order of their names, so that each run is the same. */
static int try_directory(const char *path)
{
	struct dirent **entries;
	int nr = scandir(path, &entries, not_hidden, alphasort);
	int failed = 0;

	if (nr < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	for (int i = 0; i < nr; i++) {
		char file[PATH_MAX];

		snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
		failed |= try_file(file);
		free(entries[i]);
	}
	free(entries);
	return failed ? -1 : nr;
}

int main(int argc, char **argv)
{
	int tried = 0;

	for (int i = 1; i < argc; i++) {
		int nr = try_directory(argv[i]);

		if (nr < 0)
			return 1;
		tried += nr;
	}
	printf("%d inputs\n", tried);
	return !tried;
}
