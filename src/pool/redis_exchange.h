/* SPDX-License-Identifier: MIT */
/*
 * Commands to a server or a cluster, up to S2_POOL_BATCH at once: those for one server are
 * sent in one go, and so are those for the next, before the first answer is waited
 * for. What a server has sent elsewhere goes there in the next round.
 */
#ifndef S2_POOL_REDIS_EXCHANGE_H
#define S2_POOL_REDIS_EXCHANGE_H

#include "pool/redis_cluster.h"

#define S2_REDIS_KEY_MAX 128 /* with the 0 at its end */

enum s2_redis_verb { S2_REDIS_STORE, S2_REDIS_LOAD, S2_REDIS_REMOVE };

/*
 * The caller fills in the first three, of which @stored is for STORE, and @loaded, which
 * may be written to though it fails, for LOAD.
 *
 * @result: -ENOSPC: the server has no memory left; -ENODATA: it does not have the key, or
 *          not a page of it; -EACCES, -EROFS: it does not let us; -EPROTO: it makes no
 *          sense; -EHOSTDOWN, -ETIMEDOUT, or what connect(2), send(2) and recv(2) say;
 *          -ELOOP: sent elsewhere too often; -EIO: any other error.
 * @sent:   it may have been carried out, or may be yet, even so.
 */
struct s2_redis_command {
	enum s2_redis_verb verb;
	char key[S2_REDIS_KEY_MAX];
	union {
		const void *stored;
		void *loaded;
	};
	int result;
	bool sent;

	bool pending, asking;
	uint8_t redirections;
	uint16_t hash_slot, node;
	char head[S2_REDIS_KEY_MAX + 64]; /* what precedes the page */
};

void s2_redis_exchange(struct s2_redis_cluster *cluster, unsigned n,
		       struct s2_redis_command commands[]);

#endif /* S2_POOL_REDIS_EXCHANGE_H */
