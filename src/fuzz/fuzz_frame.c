/*
 * Feeds bytes from a host to the frame decoder and every payload decoder, which is all of the agent
 * that reads them.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/store/manifest.h"
#include "agent/wire/frame.h"
#include "common/glob.h"
#include "common/relative_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Touches all of a slice, so that the sanitizers see where it ends. */
static size_t touch(struct slice s) {
  size_t sum = 0;
  for (size_t i = 0; i < s.size; i++) sum += (unsigned char)s.bytes[i];
  return sum;
}

/* Every pattern against the folder's name: the automaton reads both. */
static size_t match(struct list_frame *list) {
  size_t sum = 0;
  char *path = must(strndup(list->folder.bytes, list->folder.size));
  for (uint32_t i = 0; i < list->count; i++) {
    struct slice s = take_name(&list->globs);
    char *glob = must(strndup(s.bytes, s.size));
    sum += glob_matches(glob, path) + 2u * glob_reaches(glob, path + 1);
    free(glob);
  }
  free(path);
  return sum;
}

/* As a manifest from the host, and as one that was kept on disk. */
static size_t decode_manifest(const struct frame *frame) {
  struct manifest m;
  size_t sum = 0;
  if (!manifest_parse(frame->payload, frame->size, &m)) {
    for (size_t i = 0; i < m.count; i++) {
      const struct entry *e = &m.entries[i];
      if (manifest_find(&m, e->path) != e || !path_is_plain(e->path)) abort();
      sum += strlen(e->path) + strlen(e->target);
    }
    if (sum > frame->size) abort();
    manifest_free(&m);
  }
  if (manifest_decode(frame->payload, frame->size, &m)) manifest_free(&m);
  return sum;
}

static size_t decode(const struct frame *frame) {
  uint32_t number;
  uint8_t small;
  struct slice text = {"", 0};
  struct input_frame input = {0, {"", 0}};
  struct put_frame put = {0, {"", 0}, {"", 0}};
  struct launch *launch = NULL;
  struct sync_frame sync;
  struct list_frame list;
  struct get_frame get;
  size_t sum = 0;
  switch (frame->type) {
  case HOST_HELLO:
    if (!decode_hello(frame, &number, &text)) sum += touch(text);
    break;
  case HOST_SPAWN:
    if (decode_spawn(frame, &launch)) break;
    for (char **s = launch->argv; *s; s++) sum += strlen(*s);
    for (char **s = launch->env; *s; s++) sum += strlen(*s);
    sum += strlen(launch->tag) + strlen(launch->cwd);
    if (launch->argv[launch->argc] || launch->env[launch->envc] || sum > frame->size) abort();
    launch_free(launch);
    break;
  case HOST_INPUT:
    if (!decode_input(frame, &input)) sum += touch(input.bytes);
    break;
  case HOST_SIGNAL:
    if (!decode_signal(frame, &small) && small == 0) abort();
    break;
  case HOST_KILL:
  case HOST_CREDIT:
    if (!decode_number(frame, &number) && frame->size != 4) abort();
    break;
  case HOST_PUT:
    if (!decode_put(frame, &put)) sum += touch(put.path) + touch(put.bytes);
    break;
  case HOST_MKDTEMP:
    if (!decode_mkdtemp(frame, &text)) sum += touch(text);
    break;
  case HOST_SYNC:
    if (!decode_sync(frame, &sync)) sum += touch(sync.key) + touch(sync.folder);
    break;
  case HOST_ENTRIES: sum += decode_manifest(frame); break;
  case HOST_CHUNK:
    if (!decode_chunk(frame, &number, &text)) sum += touch(text);
    break;
  case HOST_LIST:
    if (!decode_list(frame, &list)) sum += match(&list);
    break;
  case HOST_GET:
    if (!decode_get(frame, &get)) sum += touch(get.folder) + touch(get.path);
    break;
  default:
    if (!decode_empty(frame) && frame->size != 0) abort();
  }
  return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t sum = 0;
  struct buffer in = {0};
  struct frame frame;
  long used = 0;
  /* In two pieces, as a stream would bring it: the first byte says where it is cut. */
  size_t cut = size ? data[0] % size : 0;
  buffer_reserve(&in, 1);
  for (int piece = 0; piece < 2 && used >= 0; piece++) {
    buffer_append(&in, piece ? data + cut : data, piece ? size - cut : cut);
    while ((used = frame_next(in.data + in.head, buffer_length(&in), &frame)) > 0) {
      sum += decode(&frame);
      buffer_drop(&in, (size_t)used);
    }
  }
  buffer_free(&in);
  return sum > (size_t)-1 / 2 ? -1 : 0; /* uses the sum, so that nothing of it is optimised away */
}
