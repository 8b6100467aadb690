/* SPDX-License-Identifier: MIT */
/*
 * The frame of the page. Its colours are told apart with any kind of colour vision; each has a
 * second form for dark screens.
 */
#include "run_page.h"

#include "run_escape.h"

#include <stdarg.h>

/* Forbids, in the browser, what should not be in the page anyway. */
static const char policy[] = "default-src 'none'; style-src 'unsafe-inline'";

static const char style[] =
	":root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#57606a;--rule:#d0d7de;"
	"--grid:#e7eaee;--bad:#b3261e;--c0:#0068a8;--c1:#d55e00;--c2:#a8448f;--c3:#00805d;"
	"--c4:#0072b2;--c5:#6cbdf0;--c6:#d9dde2;--c7:#e69f00;--c8:#b85400;--c9:#efdc3a;"
	"--c10:#8a6d3b}\n"
	"@media(prefers-color-scheme:dark){:root{--ground:#14171b;--ink:#e8ebee;--soft:#9da7b1;"
	"--rule:#3a414a;--grid:#272c33;--bad:#ff8a80;--c0:#5cb8f2;--c1:#f58a3c;--c2:#dd8cc8;"
	"--c3:#3fc99b;--c4:#2f8fd0;--c5:#8fd0fa;--c6:#3a414a;--c7:#e69f00;--c8:#c96a1c;"
	"--c9:#d9c832;--c10:#a88a55}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;padding:24px 20px 48px;max-width:1120px;background:var(--ground);"
	"color:var(--ink);font:15px/1.5 system-ui,sans-serif}\n"
	"h1{font-size:26px;margin:0 0 4px}\n"
	"h2{font-size:20px;margin:40px 0 4px;padding-top:12px;border-top:1px solid var(--rule)}\n"
	"h3{font-size:15px;margin:0}\n"
	"p{margin:4px 0 12px;max-width:75ch;overflow-wrap:anywhere}\n"
	".soft,figcaption span{color:var(--soft)}\n"
	".bad{color:var(--bad);font-weight:600}\n"
	"code,pre{font:13px/1.5 ui-monospace,monospace}\n"
	"pre{margin:4px 0 12px;padding:10px 12px;border:1px solid var(--rule);border-radius:6px;"
	"white-space:pre-wrap;overflow-wrap:anywhere}\n"
	".plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));"
	"gap:24px 28px;margin:16px 0}\n"
	".small{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));"
	"gap:12px 16px;margin:12px 0}\n"
	"figure{margin:0;min-width:0}\n"
	"figcaption span{display:block;font-size:13px}\n"
	".small h3{font-size:13px;font-weight:400;overflow:hidden;text-overflow:ellipsis;"
	"white-space:nowrap}\n"
	"svg{display:block;width:100%;height:auto;font-size:12px;fill:var(--ink)}\n"
	"svg .end{text-anchor:end;fill:var(--soft)}\n"
	"svg .middle{text-anchor:middle;fill:var(--soft)}\n"
	"svg .halo{fill:var(--ink);stroke:var(--ground);stroke-width:3px;paint-order:stroke}\n"
	"path{fill:none}\n"
	".grid{stroke:var(--grid)}\n"
	".axis{stroke:var(--soft)}\n"
	".level{stroke:var(--ink);stroke-dasharray:4 3}\n"
	".line{stroke:var(--c);stroke-width:2;stroke-linecap:round;stroke-linejoin:round}\n"
	".lead,.whisker{stroke:var(--c);stroke-width:1.5}\n"
	".band{fill:var(--c)}\n"
	".mark{fill:var(--c);stroke:var(--ground)}\n"
	".key{display:inline-block;width:.8em;height:.8em;background:var(--c)}\n"
	"td:first-child{white-space:nowrap}\n"
	".scroll{overflow-x:auto;margin:12px 0}\n"
	"table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\n"
	"th,td{padding:4px 10px;border-bottom:1px solid var(--grid);text-align:left;"
	"vertical-align:top}\n"
	"th{color:var(--soft);font-weight:600;border-bottom-color:var(--rule);white-space:nowrap}\n"
	"td.n,th.n{text-align:right;white-space:nowrap}\n"
	"td.wide{min-width:14em;max-width:30em;overflow-wrap:anywhere}\n"
	"summary{cursor:pointer;margin:12px 0;color:var(--soft)}\n"
	"@media print{body{max-width:none}figure,tr{break-inside:avoid}}\n";

#define NR_COLOURS 11

void page_begin(FILE *out, const char *title)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n", out);
	fprintf(out, "<meta http-equiv=\"Content-Security-Policy\" content=\"%s\">\n", policy);
	fputs("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n", out);
	page_element(out, "title", NULL, title);
	fprintf(out, "<style>\n%s", style);
	for (unsigned int i = 0; i < NR_COLOURS; i++)
		fprintf(out, ".c%u{--c:var(--c%u)}\n", i, i);
	fputs("</style>\n</head>\n<body>\n", out);
}

void page_end(FILE *out)
{
	fputs("</body>\n</html>\n", out);
}

static void escape_format(FILE *out, const char *format, va_list args)
{
	char text[PAGE_SENTENCE];

	vsnprintf(text, sizeof(text), format, args);
	html_escape(out, text);
}

void page_text(FILE *out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	escape_format(out, format, args);
	va_end(args);
}

void page_element(FILE *out, const char *tag, const char *class, const char *text)
{
	if (class)
		fprintf(out, "<%s class=\"%s\">", tag, class);
	else
		fprintf(out, "<%s>", tag);
	html_escape(out, text);
	fprintf(out, "</%s>\n", tag);
}

void page_number(FILE *out, const char *format, ...)
{
	va_list args;

	fputs("<td class=\"n\">", out);
	va_start(args, format);
	escape_format(out, format, args);
	va_end(args);
	fputs("</td>\n", out);
}

void page_key(FILE *out, unsigned int colour, const char *text)
{
	fprintf(out, "<i class=\"key c%u\"></i> ", colour);
	html_escape(out, text);
	fputc(' ', out);
}

void page_figure(FILE *out, const char *title, const char *unit)
{
	fputs("<figure>\n<figcaption>\n", out);
	page_element(out, "h3", NULL, title);
	if (*unit)
		page_element(out, "span", NULL, unit);
	fputs("</figcaption>\n", out);
}

void page_figure_end(FILE *out)
{
	fputs("</figure>\n", out);
}

void page_table(FILE *out, unsigned int n, unsigned int numbers, const char *const *header)
{
	fputs("<div class=\"scroll\"><table>\n<thead><tr>\n", out);
	for (unsigned int i = 0; i < n; i++)
		page_element(out, "th", i >= numbers ? "n" : NULL, header[i]);
	fputs("</tr></thead>\n<tbody>\n", out);
}

void page_table_end(FILE *out)
{
	fputs("</tbody>\n</table></div>\n", out);
}
