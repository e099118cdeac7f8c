/*
 * libFuzzer target: bytes from a host through the frame decoder and every payload decoder, which is
 * all of the agent that reads them. `./dev fuzz` runs it, starting from corpus/.
 */
#include <stdlib.h>
#include <string.h>

#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Touches all of a slice, so that the sanitizers see where it ends. */
static size_t touch(struct slice s) {
  size_t sum = 0;
  for (size_t i = 0; i < s.size; i++) sum += (unsigned char)s.bytes[i];
  return sum;
}

static size_t decode(const struct frame *frame) {
  uint32_t number;
  uint8_t small;
  struct slice text = {"", 0};
  struct input_frame input = {0, {"", 0}};
  struct put_frame put = {0, {"", 0}, {"", 0}};
  struct launch *launch = NULL;
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
  default:
    if (!decode_ping(frame) && frame->size != 0) abort();
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
