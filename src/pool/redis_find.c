/* SPDX-License-Identifier: MIT */
/*
 * From the host of a tier's config to its first server. A name is looked up here and
 * never again: that may take longer than any time-out, and a fault must not wait for it.
 */
#include "pool/redis_cluster.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define DEFAULT_PORT 6379

/* The server of the config is there, and lets us in. */
static int add_first(struct s2_redis_cluster *cluster, const void *addr, socklen_t length)
{
	struct s2_redis_address address = { .length = length };
	struct s2_redis_connection *connection;
	int ret;

	memcpy(&address.addr, addr, length);
	ret = s2_redis_connect(&address, &cluster->settings, &connection);
	if (ret)
		return ret;
	s2_redis_disconnect(connection);
	ret = s2_redis_cluster_node(cluster, &address);
	return ret < 0 ? ret : 0;
}

static int lookup_error(int error)
{
	if (error == EAI_SYSTEM)
		return -errno;
	return error == EAI_MEMORY ? -ENOMEM : -ENOENT;
}

static int find_host(struct s2_redis_cluster *cluster, const char *host, uint16_t port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *found;
	char service[6];
	int ret;

	snprintf(service, sizeof(service), "%u", port ? port : DEFAULT_PORT);
	ret = getaddrinfo(host, service, &hints, &found);
	if (ret)
		return lookup_error(ret);
	ret = -ENOENT;
	for (const struct addrinfo *a = found; a && ret && ret != -EACCES; a = a->ai_next)
		ret = add_first(cluster, a->ai_addr, a->ai_addrlen);
	freeaddrinfo(found);
	return ret;
}

int s2_redis_find_server(struct s2_redis_cluster *cluster, const char *host, uint16_t port)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };

	if (*host != '/')
		return find_host(cluster, host, port);
	strcpy(path.sun_path, host);
	return add_first(cluster, &path, sizeof(path));
}
