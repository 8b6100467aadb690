/* SPDX-License-Identifier: MIT */
/* See run_pool.h. */
#include "run_pool.h"

#include "run_size.h"

#include <errno.h>
#include <string.h>

/* The pool's thread begins when a 64th of the frames is free, and ends at a 32nd. */
#define LOW_SHARE 64
#define HIGH_SHARE 32

uint64_t run_pool_size(const struct run_options *options, unsigned int nr_guests)
{
	return options->pool ? options->pool : options->mem * nr_guests;
}

/* Where not all fits, or the churn takes pages away, they have to go somewhere. */
static struct run_tiers tiers_of(const struct run_pass *pass)
{
	const struct run_options *options = pass->options;
	uint64_t guests = options->mem * pass->nr_guests;
	struct run_tiers tiers = options->tiers;
	bool needed = run_pool_size(options, pass->nr_guests) < guests || options->churn;

	if (!tiers.nr && needed)
		tiers = (struct run_tiers){ .nr = 1, .tier = { { .kind = RUN_TIER_ZSTD } } };
	return tiers;
}

static void name_tiers(const struct run_tiers *tiers, struct run_samples *samples)
{
	samples->nr_tiers = tiers->nr;
	for (unsigned int i = 0; i < tiers->nr; i++)
		snprintf(samples->tiers[i], sizeof(samples->tiers[i]), "%s",
			 run_tier_names[tiers->tier[i].kind]);
}

static uint64_t watermark(uint64_t size, unsigned int share)
{
	return size / share & ~(S2_PAGE_SIZE - 1);
}

static void explain(int ret, uint64_t size, char *error, size_t len)
{
	char text[24];

	snprintf(error, len, "a pool of %s could not be made: %s; %s",
		 run_size_text(size, text, sizeof(text)), strerror(-ret),
		 ret == -EFBIG ? "its memory is a file, which ulimit -f limits, too" :
				 "a smaller --pool may be");
}

int run_pool_create(const struct run_pass *pass, struct run_samples *samples, struct s2_pool **pool,
		    char *error, size_t len)
{
	const struct run_tiers tiers = tiers_of(pass);
	struct s2_pool_config config = {
		.size = run_pool_size(pass->options, pass->nr_guests),
		.gate = pass->gate,
	};
	int ret = run_tiers_create(&tiers, pass->options->mem * pass->nr_guests, config.tiers,
				   error, len);

	if (ret)
		return ret;
	if (tiers.nr && watermark(config.size, LOW_SHARE)) {
		config.low_watermark = watermark(config.size, LOW_SHARE);
		config.high_watermark = watermark(config.size, HIGH_SHARE);
	}
	ret = s2_pool_create(&config, pool);
	for (unsigned int i = 0; ret && i < tiers.nr; i++)
		config.tiers[i]->ops->destroy(config.tiers[i]);
	if (ret)
		explain(ret, config.size, error, len);
	else
		name_tiers(&tiers, samples);
	return ret;
}
