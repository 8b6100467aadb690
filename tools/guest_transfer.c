/* SPDX-License-Identifier: MIT */
/*
 * Bytes from and to descriptors. They go through a buffer of ours, as a system call on the guest's
 * memory would fail where that is not there at the moment. What of a guest's buffer is not mapped
 * is found before anything is read from the host, so that nothing read is lost; as in the kernel, a
 * call that has moved something returns how much that was.
 */
#define _GNU_SOURCE
#include "guest_copy.h"
#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_maps.h"
#include "guest_output.h"
#include "guest_stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The kernel's limits of one call. */
#define MOST_PIECES 1024
#define MOST_BYTES UINT64_C(0x7ffff000)

/* A file's own position. */
#define AT_POSITION INT64_C(-1)

/* A piece of the guest's memory, as in its struct iovec. */
struct piece {
	uint64_t gpa;
	uint64_t len;
};

/* @pieces: what of them is still to come begins with the first. */
struct transfer {
	struct guest *guest;
	const struct guest_open_file *file;
	struct piece *pieces;
	int64_t offset;
	uint64_t left;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int64_t read_some(struct guest *guest, const struct guest_open_file *file, void *data,
			 size_t len, int64_t offset)
{
	ssize_t n;

	if (file->kind == GUEST_FILE_STREAM)
		return guest_stream_read(guest, file, data, len);
	n = offset == AT_POSITION ? read(file->host, data, len)
				  : pread(file->host, data, len, offset);
	return n < 0 ? -errno : n;
}

/*
 * What is written far behind the end of a file makes it as long as that, and whoever reads it reads
 * all of that. Where to a file appends is not where it is, but then its end was checked before.
 */
static int check_offset(const struct guest *guest, const struct guest_open_file *file,
			int64_t offset)
{
	if (file->kind == GUEST_FILE_STREAM || (file->flags & GUEST_O_APPEND && !file->outside))
		return 0;
	if (offset == AT_POSITION)
		offset = lseek(file->host, 0, SEEK_CUR);
	return offset > 0 ? guest_output_length(guest, (uint64_t)offset) : 0;
}

static int64_t write_some(struct guest *guest, const struct guest_open_file *file, const void *data,
			  size_t len, int64_t offset)
{
	int64_t n = check_offset(guest, file, offset);
	size_t allowed;

	if (n)
		return n;
	allowed = guest_output_allowed(guest, len);
	if (!allowed)
		return -EFBIG;
	if (file->kind == GUEST_FILE_STREAM) {
		n = guest_stream_write(guest, file, data, allowed);
	} else {
		n = offset == AT_POSITION ? write(file->host, data, allowed)
					  : pwrite(file->host, data, allowed, offset);
		n = n < 0 ? -errno : n;
	}
	if (n > 0)
		guest_output_written(guest, (size_t)n);
	return n;
}

/* How many of the next @most bytes of the guest's allow @protection, without a gap. */
static size_t reachable(const struct transfer *transfer, uint64_t most, unsigned int protection)
{
	const struct guest_maps *maps = transfer->guest->maps;
	const struct piece *piece = transfer->pieces;
	uint64_t sum = 0, wanted, mapped;

	for (most = least(most, transfer->left); sum < most; piece++) {
		wanted = least(piece->len, most - sum);
		mapped = guest_maps_reach(maps, piece->gpa, wanted, protection);
		sum += mapped;
		if (mapped < wanted)
			break;
	}
	return (size_t)sum;
}

/* Copies @len bytes, which are reachable, between the buffer and the pieces. */
static int copy_pieces(const struct transfer *transfer, size_t len, bool in)
{
	unsigned char *data = transfer->guest->files->bounce, *end = data + len;
	const struct piece *piece = transfer->pieces;
	int error = 0;

	for (; data < end && !error; piece++) {
		size_t n = (size_t)least(piece->len, (uint64_t)(end - data));

		error = in ? guest_copy_in(transfer->guest, piece->gpa, data, n)
			   : guest_copy_out(transfer->guest, piece->gpa, data, n);
		data += n;
	}
	return error;
}

static void advance(struct transfer *transfer, uint64_t len)
{
	transfer->left -= len;
	if (transfer->offset != AT_POSITION)
		transfer->offset += (int64_t)len;
	for (; len > transfer->pieces->len; transfer->pieces++)
		len -= transfer->pieces->len;
	transfer->pieces->gpa += len;
	transfer->pieces->len -= len;
}

static int64_t read_step(struct transfer *transfer, size_t len)
{
	struct guest *guest = transfer->guest;
	int64_t n = read_some(guest, transfer->file, guest->files->bounce, len, transfer->offset);
	int error = n > 0 ? copy_pieces(transfer, (size_t)n, false) : 0;

	return error ? error : n;
}

static int64_t write_step(struct transfer *transfer, size_t len)
{
	struct guest *guest = transfer->guest;
	int error = copy_pieces(transfer, len, true);

	if (error)
		return error;
	return write_some(guest, transfer->file, guest->files->bounce, len, transfer->offset);
}

/* After something was read: a pipe may not have more, and a file ends where it gave less. */
static bool read_ends(const struct transfer *transfer, int64_t got, size_t asked)
{
	return transfer->file->kind == GUEST_FILE_STREAM || (size_t)got < asked;
}

static int64_t run(struct transfer *transfer, bool writing)
{
	const unsigned int protection = writing ? GUEST_READ : GUEST_WRITE;
	uint64_t whole = transfer->left;

	while (transfer->left) {
		size_t len = reachable(transfer, GUEST_BOUNCE, protection);
		int64_t n = -EFAULT;
		bool ends;

		if (len)
			n = writing ? write_step(transfer, len) : read_step(transfer, len);
		if (n <= 0)
			return transfer->left < whole ? (int64_t)(whole - transfer->left) : n;
		ends = !writing && read_ends(transfer, n, len);
		advance(transfer, (uint64_t)n);
		if (ends || guest_must_stop(transfer->guest))
			break;
	}
	return (int64_t)(whole - transfer->left);
}

/* The open file behind a descriptor that is for reading, or writing; NULL: it is not. */
static const struct guest_open_file *opened_for(const struct guest *guest, uint64_t number,
						bool writing)
{
	const struct guest_open_file *file = guest_descriptor(guest, number);
	unsigned int refusing = writing ? 0 : GUEST_O_WRONLY;

	if (!file || file->flags & GUEST_O_PATH || (file->flags & GUEST_O_ACCMODE) == refusing)
		return NULL;
	return file;
}

static int64_t begin(struct transfer *transfer, uint64_t number, bool writing)
{
	transfer->file = opened_for(transfer->guest, number, writing);
	if (!transfer->file)
		return -EBADF;
	if (transfer->offset != AT_POSITION && transfer->file->kind == GUEST_FILE_STREAM)
		return -ESPIPE;
	if (transfer->offset < AT_POSITION || transfer->left > INT64_MAX)
		return -EINVAL;
	transfer->left = least(transfer->left, MOST_BYTES);
	return run(transfer, writing);
}

static int64_t one_piece(struct guest *guest, const uint64_t args[6], int64_t offset, bool writing)
{
	struct piece piece = { args[1], args[2] };
	struct transfer transfer = { guest, NULL, &piece, offset, args[2] };

	return begin(&transfer, args[0], writing);
}

static int64_t many_pieces(struct guest *guest, const uint64_t args[6], int64_t offset,
			   bool writing)
{
	struct piece pieces[MOST_PIECES];
	struct transfer transfer = { guest, NULL, pieces, offset, 0 };
	int error;

	if (!opened_for(guest, args[0], writing))
		return -EBADF;
	if (args[2] > MOST_PIECES)
		return -EINVAL;
	error = guest_copy_in(guest, args[1], pieces, args[2] * sizeof(pieces[0]));
	if (error)
		return error;
	for (uint64_t i = 0; i < args[2]; i++)
		if (pieces[i].len > INT64_MAX ||
		    __builtin_add_overflow(transfer.left, pieces[i].len, &transfer.left))
			return -EINVAL;
	return begin(&transfer, args[0], writing);
}

int64_t guest_sys_read(struct guest *guest, const uint64_t args[6])
{
	return one_piece(guest, args, AT_POSITION, false);
}

int64_t guest_sys_write(struct guest *guest, const uint64_t args[6])
{
	return one_piece(guest, args, AT_POSITION, true);
}

int64_t guest_sys_readv(struct guest *guest, const uint64_t args[6])
{
	return many_pieces(guest, args, AT_POSITION, false);
}

int64_t guest_sys_writev(struct guest *guest, const uint64_t args[6])
{
	return many_pieces(guest, args, AT_POSITION, true);
}

int64_t guest_sys_pread64(struct guest *guest, const uint64_t args[6])
{
	return (int64_t)args[3] < 0 ? -EINVAL : one_piece(guest, args, (int64_t)args[3], false);
}

int64_t guest_sys_pwrite64(struct guest *guest, const uint64_t args[6])
{
	return (int64_t)args[3] < 0 ? -EINVAL : one_piece(guest, args, (int64_t)args[3], true);
}

int64_t guest_sys_preadv(struct guest *guest, const uint64_t args[6])
{
	return (int64_t)args[3] < 0 ? -EINVAL : many_pieces(guest, args, (int64_t)args[3], false);
}

int64_t guest_sys_pwritev(struct guest *guest, const uint64_t args[6])
{
	return (int64_t)args[3] < 0 ? -EINVAL : many_pieces(guest, args, (int64_t)args[3], true);
}

/* Writes all of the buffer's @len bytes; less only on an error, which counts if it was nothing. */
static int64_t write_all(struct guest *guest, const struct guest_open_file *file, size_t len)
{
	size_t done = 0;

	while (done < len) {
		int64_t n = write_some(guest, file, guest->files->bounce + done, len - done,
				       AT_POSITION);

		if (n <= 0)
			return done ? (int64_t)done : n;
		done += (size_t)n;
	}
	return (int64_t)done;
}

/* Moves up to @most bytes; @position is moved along. */
static int64_t send(struct guest *guest, const struct guest_open_file *to,
		    const struct guest_open_file *from, int64_t *position, uint64_t most)
{
	uint64_t done = 0;
	int64_t n = 0, sent;

	while (done < most) {
		n = read_some(guest, from, guest->files->bounce, least(most - done, GUEST_BOUNCE),
			      *position);
		if (n <= 0)
			break;
		sent = write_all(guest, to, (size_t)n);
		if (sent <= 0)
			return done ? (int64_t)done : sent;
		done += (uint64_t)sent;
		*position += sent;
		if (sent < n || guest_must_stop(guest))
			break;
	}
	return done ? (int64_t)done : n;
}

int64_t guest_sys_sendfile(struct guest *guest, const uint64_t args[6])
{
	const struct guest_open_file *to = opened_for(guest, args[0], true);
	const struct guest_open_file *from = opened_for(guest, args[1], false);
	int64_t position, sent;
	int error = 0;

	if (!to || !from)
		return -EBADF;
	if (from->kind != GUEST_FILE_REGULAR || to->flags & GUEST_O_APPEND)
		return -EINVAL;
	if (args[2])
		error = guest_copy_in(guest, args[2], &position, sizeof(position));
	else
		position = lseek(from->host, 0, SEEK_CUR);
	if (error)
		return error;
	if (position < 0)
		return -EINVAL;
	sent = send(guest, to, from, &position, least(args[3], MOST_BYTES));
	if (sent <= 0)
		return sent;
	if (args[2])
		error = guest_copy_out(guest, args[2], &position, sizeof(position));
	else if (lseek(from->host, position, SEEK_SET) < 0)
		error = -errno;
	return error ? error : sent;
}
