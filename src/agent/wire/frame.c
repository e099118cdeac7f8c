/* Encodes and decodes frames. The decoders trust nothing: this is what gets fuzzed. */
#include "frame.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/glob.h"
#include "common/relative_path.h"

void *must(void *allocated) {
  static const char message[] = "agent: out of memory\n";
  if (!allocated) {
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(71);
    _exit(70);
  }
  return allocated;
}

uint8_t *buffer_reserve(struct buffer *b, size_t size) {
  if (b->capacity - b->end >= size) return b->data + b->end;
  size_t length = buffer_length(b);
  if (b->head < length || b->capacity - length < size) {
    size_t capacity = b->capacity ? b->capacity : 4096;
    while (capacity - length < size + length) capacity *= 2; /* so that moving stays rare */
    if (capacity > b->capacity) {
      b->data = must(realloc(b->data, capacity));
      b->capacity = capacity;
    }
  }
  if (b->head > 0 && length > 0) memmove(b->data, b->data + b->head, length);
  b->head = 0;
  b->end = length;
  return b->data + length;
}

void buffer_append(struct buffer *b, const void *bytes, size_t size) {
  if (size == 0) return;
  memcpy(buffer_reserve(b, size), bytes, size);
  b->end += size;
}

void buffer_drop(struct buffer *b, size_t size) {
  b->head += size;
  if (b->head == b->end) b->head = b->end = 0;
}

void buffer_free(struct buffer *b) {
  free(b->data);
  memset(b, 0, sizeof *b);
}

static void store_u32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t load_u32(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

size_t frame_begin(struct buffer *b, enum frame_type type, uint32_t id) {
  size_t frame = buffer_length(b); /* from the head: reserving may move everything to the front */
  uint8_t *header = buffer_reserve(b, FRAME_HEADER);
  header[4] = (uint8_t)type;
  store_u32(header + 5, id);
  b->end += FRAME_HEADER;
  return frame;
}

void frame_end(struct buffer *b, size_t frame) {
  store_u32(b->data + b->head + frame, (uint32_t)(buffer_length(b) - frame - 4));
}

void put_u8(struct buffer *b, uint8_t value) { buffer_append(b, &value, 1); }

void put_u32(struct buffer *b, uint32_t value) {
  store_u32(buffer_reserve(b, 4), value);
  b->end += 4;
}

void put_u64(struct buffer *b, uint64_t value) {
  put_u32(b, (uint32_t)value);
  put_u32(b, (uint32_t)(value >> 32));
}

void put_bytes(struct buffer *b, const void *bytes, size_t size) { buffer_append(b, bytes, size); }

void put_str(struct buffer *b, const char *bytes, size_t size) {
  put_u32(b, (uint32_t)size);
  buffer_append(b, bytes, size);
}

long frame_next(const uint8_t *bytes, size_t size, struct frame *frame) {
  if (size < 4) return 0;
  size_t length = load_u32(bytes); /* judged before the rest has come: nobody waits for 4 GiB */
  if (length < FRAME_HEADER - 4 || length > FRAME_HEADER - 4 + FRAME_PAYLOAD_MAX) return -1;
  if (size - 4 < length) return 0;
  frame->type = bytes[4];
  frame->id = load_u32(bytes + 5);
  frame->payload = bytes + FRAME_HEADER;
  frame->size = length + 4 - FRAME_HEADER;
  return (long)(length + 4);
}

struct reader frame_reader(const struct frame *frame) {
  return (struct reader){.at = frame->payload, .left = frame->size};
}

static const uint8_t *take(struct reader *r, size_t size) {
  if (r->bad || r->left < size) {
    r->bad = true;
    r->left = 0;
    return NULL;
  }
  const uint8_t *at = r->at;
  r->at += size;
  r->left -= size;
  return at;
}

uint8_t take_u8(struct reader *r) {
  const uint8_t *at = take(r, 1);
  return at ? *at : 0;
}

uint32_t take_u32(struct reader *r) {
  const uint8_t *at = take(r, 4);
  return at ? load_u32(at) : 0;
}

uint64_t take_u64(struct reader *r) {
  uint64_t low = take_u32(r);
  return low | (uint64_t)take_u32(r) << 32;
}

struct slice take_str(struct reader *r) {
  size_t size = take_u32(r);
  const uint8_t *at = take(r, size);
  return at ? (struct slice){(const char *)at, size} : (struct slice){"", 0};
}

struct slice take_name(struct reader *r) {
  struct slice s = take_str(r);
  if (memchr(s.bytes, 0, s.size)) r->bad = true;
  return s;
}

struct slice take_rest(struct reader *r) {
  size_t size = r->left;
  const uint8_t *at = take(r, size);
  return at ? (struct slice){(const char *)at, size} : (struct slice){"", 0};
}

bool reader_done(const struct reader *r) { return !r->bad && r->left == 0; }

const char *decode_hello(const struct frame *frame, uint32_t *version, struct slice *run_id) {
  struct reader r = frame_reader(frame);
  *version = take_u32(&r);
  if (!r.bad && *version != PROTOCOL_VERSION) return NULL; /* the rest may look different there */
  *run_id = take_name(&r);
  return reader_done(&r) ? NULL : "malformed HELLO";
}

/* Copies the next str behind *text, which is known to have room, and gives its place there. */
static char *keep(struct reader *r, char **text) {
  struct slice s = take_name(r);
  char *kept = *text;
  memcpy(kept, s.bytes, s.size);
  kept[s.size] = 0;
  *text += s.size + 1;
  return kept;
}

/* Counts a list of strs without keeping them, so that the block can be allocated at once. */
static size_t count_list(struct reader *r, size_t max) {
  size_t n = take_u32(r);
  if (n > max) r->bad = true;
  for (size_t i = 0; i < n && !r->bad; i++) take_name(r);
  return r->bad ? 0 : n;
}

static bool valid_environment(char **env) {
  for (; *env; env++)
    if (**env == 0 || **env == '=') return false;
  return true;
}

const char *decode_spawn(const struct frame *frame, struct launch **result) {
  struct reader r = frame_reader(frame);
  struct launch fixed = {0};
  fixed.flags = take_u32(&r);
  fixed.lane = take_u32(&r);
  fixed.deadline_ms = take_u32(&r);
  fixed.grace_ms = take_u32(&r);
  fixed.memory = take_u64(&r);
  fixed.via = take_u32(&r);
  struct reader strings = r;
  take_name(&r);
  take_name(&r);
  fixed.argc = count_list(&r, ARGV_MAX);
  fixed.envc = count_list(&r, ENV_MAX);
  if (!reader_done(&r)) return "malformed SPAWN";
  if (fixed.flags & ~(uint32_t)SPAWN_FLAGS) return "SPAWN with unknown flags";
  if (fixed.argc == 0 && fixed.via == 0) return "SPAWN without a program";
  if (fixed.via && fixed.flags & ~(uint32_t)(SPAWN_CONTROL | SPAWN_MERGE))
    return "SPAWN through a fork server with flags it cannot have";

  /* launch, argv, env, then the text: each u32 length on the wire pays for one NUL. */
  size_t pointers = (fixed.argc + 1 + fixed.envc + 1) * sizeof(char *);
  fixed.size = sizeof fixed + pointers + strings.left;
  struct launch *launch = must(malloc(fixed.size));
  *launch = fixed;
  launch->argv = (char **)(launch + 1);
  launch->env = launch->argv + fixed.argc + 1;
  char *text = (char *)launch + sizeof fixed + pointers;
  launch->tag = keep(&strings, &text);
  launch->cwd = keep(&strings, &text);
  take_u32(&strings);
  for (size_t i = 0; i < fixed.argc; i++) launch->argv[i] = keep(&strings, &text);
  launch->argv[fixed.argc] = NULL;
  take_u32(&strings);
  for (size_t i = 0; i < fixed.envc; i++) launch->env[i] = keep(&strings, &text);
  launch->env[fixed.envc] = NULL;

  const char *wrong = NULL;
  if (fixed.argc > 0 && launch->argv[0][0] == 0) wrong = "SPAWN of a program without a name";
  if (!valid_environment(launch->env)) wrong = "SPAWN with a nameless environment variable";
  if (wrong) {
    free(launch);
    return wrong;
  }
  *result = launch;
  return NULL;
}

void launch_free(struct launch *launch) { free(launch); }

const char *decode_input(const struct frame *frame, struct input_frame *input) {
  struct reader r = frame_reader(frame);
  input->stream = take_u8(&r);
  input->bytes = take_rest(&r);
  bool known = input->stream == STREAM_STDIN || input->stream == STREAM_CONTROL;
  return reader_done(&r) && known ? NULL : "malformed INPUT";
}

const char *decode_number(const struct frame *frame, uint32_t *value) {
  struct reader r = frame_reader(frame);
  *value = take_u32(&r);
  if (reader_done(&r)) return NULL;
  return frame->type == HOST_KILL ? "malformed KILL" : "malformed CREDIT";
}

const char *decode_signal(const struct frame *frame, uint8_t *number) {
  struct reader r = frame_reader(frame);
  *number = take_u8(&r);
  return reader_done(&r) && *number > 0 && *number < NSIG ? NULL : "malformed SIGNAL";
}

const char *decode_put(const struct frame *frame, struct put_frame *put) {
  struct reader r = frame_reader(frame);
  put->mode = take_u32(&r);
  put->path = take_name(&r);
  put->bytes = take_rest(&r);
  return reader_done(&r) && put->path.size > 0 ? NULL : "malformed PUT";
}

const char *decode_mkdtemp(const struct frame *frame, struct slice *prefix) {
  struct reader r = frame_reader(frame);
  *prefix = take_name(&r);
  bool plain = !memchr(prefix->bytes, '/', prefix->size);
  return reader_done(&r) && plain ? NULL : "malformed MKDTEMP";
}

const char *decode_empty(const struct frame *frame) {
  if (frame->size == 0) return NULL;
  return frame->type == HOST_PING ? "malformed PING" : "malformed STOP";
}

/* The key becomes the name of a folder. */
static bool valid_key(struct slice key) {
  if (key.size == 0 || key.size > SYNC_KEY_MAX) return false;
  for (size_t i = 0; i < key.size; i++) {
    char c = key.bytes[i];
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') return false;
  }
  return true;
}

static bool absolute(struct slice path) { return path.size > 0 && path.bytes[0] == '/'; }

const char *decode_sync(const struct frame *frame, struct sync_frame *sync) {
  struct reader r = frame_reader(frame);
  sync->key = take_name(&r);
  sync->folder = take_name(&r);
  struct slice digest = take_str(&r);
  bool place = sync->folder.size == 0 || absolute(sync->folder);
  if (!reader_done(&r) || digest.size != sizeof sync->digest || !valid_key(sync->key) || !place)
    return "malformed SYNC";
  memcpy(sync->digest, digest.bytes, sizeof sync->digest);
  return NULL;
}

const char *decode_chunk(const struct frame *frame, uint32_t *index, struct slice *bytes) {
  struct reader r = frame_reader(frame);
  *index = take_u32(&r);
  *bytes = take_rest(&r);
  return reader_done(&r) && bytes->size > 0 ? NULL : "malformed CHUNK";
}

const char *decode_list(const struct frame *frame, struct list_frame *list) {
  struct reader r = frame_reader(frame);
  char pattern[4096];
  list->folder = take_name(&r);
  list->newer_us = take_u64(&r);
  list->older_us = take_u64(&r);
  list->count = take_u32(&r);
  list->globs = r;
  if (list->count > GLOBS_MAX) return "malformed LIST";
  for (uint32_t i = 0; i < list->count && !r.bad; i++) {
    struct slice glob = take_name(&r);
    if (glob.size >= sizeof pattern) return "malformed LIST";
    memcpy(pattern, glob.bytes, glob.size);
    pattern[glob.size] = 0;
    if (!r.bad && !glob_valid(pattern)) return "LIST with a pattern that leads out of the folder";
  }
  return reader_done(&r) && absolute(list->folder) ? NULL : "malformed LIST";
}

const char *decode_get(const struct frame *frame, struct get_frame *get) {
  struct reader r = frame_reader(frame);
  char path[4096];
  get->folder = take_name(&r);
  get->path = take_name(&r);
  get->most = take_u64(&r);
  if (!reader_done(&r) || !absolute(get->folder) || get->path.size >= sizeof path)
    return "malformed GET";
  memcpy(path, get->path.bytes, get->path.size);
  path[get->path.size] = 0;
  return path_is_plain(path) ? NULL : "GET of a path that leads out of the folder";
}
