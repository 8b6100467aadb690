/* SPDX-License-Identifier: MIT */
/* See run_escape.h. */
#include "run_escape.h"

#include <stdbool.h>
#include <stdint.h>

static unsigned int length_by(unsigned char first)
{
	if (first < 0x80)
		return 1;
	/* 0xc0 and 0xc1 would begin a longer form of what has one byte. */
	if (first < 0xc2)
		return 0;
	if (first < 0xe0)
		return 2;
	if (first < 0xf0)
		return 3;
	return first < 0xf5 ? 4 : 0;
}

/* The bytes of the UTF-8 character at @text, or 0 if there is none that HTML allows. */
static unsigned int character(const unsigned char *text)
{
	static const uint32_t least[] = { 0, 0x20, 0x80, 0x800, 0x10000 };
	unsigned int len = length_by(*text);
	uint32_t code = len > 1 ? *text & 0x7fu >> len : *text;

	for (unsigned int i = 1; i < len; i++) {
		/* Also at the terminating zero. */
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < least[len] || (code >= 0x7f && code < 0xa0) || code > 0x10ffff ||
	    (code >= 0xd800 && code < 0xe000) || (code & 0xfffe) == 0xfffe)
		return 0;
	return len;
}

/* Directions of writing, whose marks would turn around what follows them on the page. */
static bool turns_text(const unsigned char *text)
{
	return text[0] == 0xe2 && ((text[1] == 0x80 && text[2] >= 0xaa && text[2] <= 0xae) ||
				   (text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9));
}

void html_escape(FILE *out, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		unsigned int len = character(at);

		if (*at == '&')
			fputs("&amp;", out);
		else if (*at == '<')
			fputs("&lt;", out);
		else if (*at == '>')
			fputs("&gt;", out);
		else if (*at == '"')
			fputs("&quot;", out);
		else if (*at == '\'')
			fputs("&#39;", out);
		else if (!len || turns_text(at))
			fputs("\xef\xbf\xbd", out);
		else
			fwrite(at, 1, len, out);
		at += len ? len : 1;
	}
}
