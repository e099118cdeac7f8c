/* Encodes frames into byte buffers, and decodes them. Nothing here does I/O. */
#ifndef RUNNER_AGENT_FRAME_H
#define RUNNER_AGENT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/* A queue of bytes: those between head and end. Owns data; zeroed is empty and valid. */
struct buffer {
  uint8_t *data;
  size_t head, end, capacity;
};

static inline size_t buffer_length(const struct buffer *b) { return b->end - b->head; }
uint8_t *buffer_reserve(struct buffer *b, size_t size); /* room at the end; then add to b->end */
void buffer_append(struct buffer *b, const void *bytes, size_t size);
void buffer_drop(struct buffer *b, size_t size); /* from the head */
void buffer_free(struct buffer *b);

/* Ends the process if there is no memory: an agent that cannot allocate cannot keep its promises. */
void *must(void *allocated);

/* Writing: frame_begin, any number of put_…, frame_end with what frame_begin gave. */
size_t frame_begin(struct buffer *b, enum frame_type type, uint32_t id);
void frame_end(struct buffer *b, size_t frame);
void put_u8(struct buffer *b, uint8_t value);
void put_u32(struct buffer *b, uint32_t value);
void put_u64(struct buffer *b, uint64_t value);
void put_bytes(struct buffer *b, const void *bytes, size_t size); /* as they are, to the end */
void put_str(struct buffer *b, const char *bytes, size_t size);

/* Reading. The bytes belong to whoever gave them. */
struct frame {
  uint8_t type;
  uint32_t id;
  const uint8_t *payload;
  size_t size;
};

/* Bytes used by the first frame, 0 if it is not complete yet, -1 if its length is impossible. */
long frame_next(const uint8_t *bytes, size_t size, struct frame *frame);

/* What is left of a payload. Reading past the end gives zeroes and sets bad, for good. */
struct reader {
  const uint8_t *at;
  size_t left;
  bool bad;
};

struct slice {
  const char *bytes;
  size_t size;
};

struct reader frame_reader(const struct frame *frame);
uint8_t take_u8(struct reader *r);
uint32_t take_u32(struct reader *r);
uint64_t take_u64(struct reader *r);
struct slice take_str(struct reader *r);
struct slice take_name(struct reader *r); /* a str without NUL bytes, so that C can hold it */
struct slice take_rest(struct reader *r);
bool reader_done(const struct reader *r); /* everything was there, and nothing more */

/* The host's frames, decoded: each gives NULL, or what is wrong with the frame. */
struct input_frame {
  uint8_t stream;
  struct slice bytes;
};
struct put_frame {
  uint32_t mode;
  struct slice path, bytes;
};

struct sync_frame {
  struct slice key, folder;
  uint8_t digest[32];
};
struct list_frame {
  struct slice folder;
  uint64_t newer_us, older_us;
  uint32_t count;
  struct reader globs; /* count names, each a valid pattern */
};
struct get_frame {
  struct slice folder, path;
  uint64_t most;
};

/* A SPAWN that outlives its frame. One block owns all strings; free with launch_free. */
struct launch {
  uint32_t flags, lane, deadline_ms, grace_ms, via;
  uint64_t memory;
  char *tag, *cwd;
  char **argv, **env; /* NULL-terminated, in the same block as the launch itself */
  size_t argc, envc, size;
};

const char *decode_hello(const struct frame *frame, uint32_t *version, struct slice *run_id);
const char *decode_spawn(const struct frame *frame, struct launch **launch);
const char *decode_input(const struct frame *frame, struct input_frame *input);
const char *decode_number(const struct frame *frame, uint32_t *value); /* KILL, CREDIT */
const char *decode_signal(const struct frame *frame, uint8_t *number);
const char *decode_put(const struct frame *frame, struct put_frame *put);
const char *decode_mkdtemp(const struct frame *frame, struct slice *prefix);
const char *decode_empty(const struct frame *frame); /* PING, STOP */
const char *decode_sync(const struct frame *frame, struct sync_frame *sync);
const char *decode_chunk(const struct frame *frame, uint32_t *index, struct slice *bytes);
const char *decode_list(const struct frame *frame, struct list_frame *list);
const char *decode_get(const struct frame *frame, struct get_frame *get);
void launch_free(struct launch *launch);

#endif
