/* Decodes the frames of the host and hands each to who does what it says. */
#include "dispatch.h"

#include <string.h>

#include "agent/process/command.h"
#include "agent/process/registry.h"
#include "agent/store/artifact.h"
#include "agent/store/file.h"
#include "agent/store/sync.h"
#include "agent/wire/output.h"

static bool greeted;

static const char *on_hello(const struct frame *frame) {
  uint32_t version;
  struct slice run_id;
  const char *wrong = decode_hello(frame, &version, &run_id);
  if (wrong) return wrong;
  if (frame->id != 0) return "malformed HELLO";
  if (version != PROTOCOL_VERSION) return "the host speaks another version of the protocol";
  registry_begin(run_id);
  greeted = true;
  return NULL;
}

static const char *on_spawn(const struct frame *frame) {
  struct launch *launch;
  const char *wrong = decode_spawn(frame, &launch);
  if (!wrong) command_spawn(frame->id, launch);
  return wrong;
}

static const char *on_input(const struct frame *frame) {
  struct input_frame input;
  const char *wrong = decode_input(frame, &input);
  if (!wrong) command_input(frame->id, &input);
  return wrong;
}

static const char *on_signal(const struct frame *frame) {
  uint8_t number;
  const char *wrong = decode_signal(frame, &number);
  if (!wrong) command_signal(frame->id, number);
  return wrong;
}

static const char *on_kill(const struct frame *frame) {
  uint32_t grace_ms;
  const char *wrong = decode_number(frame, &grace_ms);
  if (!wrong) command_kill(frame->id, grace_ms);
  return wrong;
}

static const char *on_credit(const struct frame *frame) {
  uint32_t bytes;
  const char *wrong = decode_number(frame, &bytes);
  if (!wrong && !command_credit(frame->id, bytes)) artifact_credit(frame->id, bytes);
  return wrong;
}

static const char *on_put(const struct frame *frame) {
  struct put_frame put;
  const char *wrong = decode_put(frame, &put);
  if (!wrong) output_done(frame->id, file_put(&put), put.path.bytes, put.path.size);
  return wrong;
}

static const char *on_mkdtemp(const struct frame *frame) {
  struct slice prefix;
  char path[4096];
  const char *wrong = decode_mkdtemp(frame, &prefix);
  if (wrong) return wrong;
  int error = file_mkdtemp(prefix, path);
  output_done(frame->id, error, path, strnlen(path, sizeof path));
  return NULL;
}

static const char *on_ping(const struct frame *frame) {
  const char *wrong = decode_empty(frame);
  if (!wrong) frame_end(&output.buffer, frame_begin(&output.buffer, AGENT_PONG, frame->id));
  return wrong;
}

static const char *on_sync(const struct frame *frame) {
  struct sync_frame sync;
  const char *wrong = decode_sync(frame, &sync);
  if (!wrong) sync_begin(frame->id, &sync);
  return wrong;
}

static const char *on_entries(const struct frame *frame) {
  return sync_entries(frame->id, (struct slice){(const char *)frame->payload, frame->size});
}

static const char *on_chunk(const struct frame *frame) {
  uint32_t index;
  struct slice bytes;
  const char *wrong = decode_chunk(frame, &index, &bytes);
  return wrong ? wrong : sync_chunk(frame->id, index, bytes);
}

static const char *on_list(const struct frame *frame) {
  struct list_frame list;
  const char *wrong = decode_list(frame, &list);
  if (!wrong) artifact_list(frame->id, &list);
  return wrong;
}

static const char *on_get(const struct frame *frame) {
  struct get_frame get;
  const char *wrong = decode_get(frame, &get);
  if (!wrong) artifact_get(frame->id, &get);
  return wrong;
}

static const char *on_stop(const struct frame *frame) {
  const char *wrong = decode_empty(frame);
  if (!wrong && !sync_stop(frame->id)) artifact_stop(frame->id);
  return wrong;
}

void dispatch(const struct frame *frame) {
  static const char *(*const handlers[])(const struct frame *) = {
      [HOST_HELLO] = on_hello,   [HOST_SPAWN] = on_spawn,     [HOST_INPUT] = on_input,
      [HOST_SIGNAL] = on_signal, [HOST_KILL] = on_kill,       [HOST_CREDIT] = on_credit,
      [HOST_PUT] = on_put,       [HOST_MKDTEMP] = on_mkdtemp, [HOST_PING] = on_ping,
      [HOST_SYNC] = on_sync,     [HOST_ENTRIES] = on_entries, [HOST_CHUNK] = on_chunk,
      [HOST_LIST] = on_list,     [HOST_GET] = on_get,         [HOST_STOP] = on_stop,
  };
  const char *wrong = NULL;
  if (frame->type >= sizeof handlers / sizeof *handlers || !handlers[frame->type])
    output_fail("a frame of the unknown type %d", frame->type);
  else if (greeted == (frame->type == HOST_HELLO))
    wrong = greeted ? "a second HELLO" : "the first frame is not HELLO";
  else
    wrong = handlers[frame->type](frame);
  if (wrong) output_fail("%s", wrong);
}
