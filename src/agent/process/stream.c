/* Carries bytes of the child into OUT frames, and bytes of INPUT frames to it. */
#define _GNU_SOURCE 1
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/wire/output.h"

static bool unread; /* readable streams were left for the next turn */

void streams_begin_turn(void) { unread = false; }

bool streams_unread(void) { return unread; }

static void stream_ready(struct source *source, uint32_t events) {
  struct stream *s = (struct stream *)source; /* its first member */
  if (s->fd < 0) return;                      /* closed earlier in the same turn */
  if (s->number != STREAM_STDIN) {
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) s->readable = true;
    if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) s->hangup = true;
    stream_read(s);
  }
  if (s->fd >= 0 && events & (EPOLLOUT | EPOLLERR)) stream_write(s);
  s->command->events->changed(s->command);
}

/* Makes the pipe or socket; *child is the child's end, the caller's to close. 0, or errno. */
int stream_open(struct command *c, int number, int *child) {
  struct stream *s = &c->streams[number];
  uint32_t events = number == STREAM_STDIN     ? EPOLLOUT
                    : number == STREAM_CONTROL ? EPOLLIN | EPOLLOUT | EPOLLRDHUP
                                               : EPOLLIN;
  int ends[2]; /* ours, the child's */
  if (number == STREAM_CONTROL) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return errno;
  } else {
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) < 0) return errno;
    ends[0] = pipe_ends[number == STREAM_STDIN ? 1 : 0];
    ends[1] = pipe_ends[number == STREAM_STDIN ? 0 : 1];
  }
  s->fd = ends[0];
  *child = ends[1];
  s->source.ready = stream_ready;
  if (fcntl(s->fd, F_SETFL, O_NONBLOCK) < 0 || !watch_add(s->fd, &s->source, events)) {
    int error = errno;
    close(*child);
    *child = -1;
    stream_close(s);
    return error;
  }
  return 0;
}

void stream_close(struct stream *s) {
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
  s->readable = false;
}

/*
 * Reads what is there into OUT frames: no more than one frame's worth per turn, so that one chatty
 * command does not starve the others, and nothing without credit or while much output is unsent.
 */
void stream_read(struct stream *s) {
  struct command *c = s->command;
  size_t budget = OUT_MAX;
  if (c->state == COMMAND_ASKED) return; /* faster than its fork server: STARTED comes first */
  while (s->readable) {
    if (s->limited && s->remaining == 0) {
      stream_close(s);
      return;
    }
    if (c->credit == 0) return;
    if (budget == 0 || buffer_length(&output.buffer) >= OUTPUT_HIGH) {
      unread = true;
      return;
    }
    size_t size = budget < c->credit ? budget : c->credit;
    if (s->limited && s->remaining < size) size = s->remaining;
    size_t frame = frame_begin(&output.buffer, AGENT_OUT, c->id);
    put_u8(&output.buffer, s->number);
    ssize_t got = read(s->fd, buffer_reserve(&output.buffer, size), size);
    if (got > 0) {
      output.buffer.end += (size_t)got;
      frame_end(&output.buffer, frame);
      c->credit -= (uint32_t)got;
      budget -= (size_t)got;
      if (s->limited) s->remaining -= (size_t)got;
      if ((size_t)got < size && !s->hangup) s->readable = false;
      continue;
    }
    output.buffer.end = output.buffer.head + frame; /* take the empty frame back */
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN)
      s->readable = false;
    else
      stream_close(s); /* a control socket too: whoever says no more does not listen either */
    return;
  }
}

static void grant(struct stream *s, size_t size) {
  if (size == 0) return;
  size_t frame = frame_begin(&output.buffer, AGENT_INPUT_CREDIT, s->command->id);
  put_u8(&output.buffer, s->number);
  put_u32(&output.buffer, (uint32_t)size);
  frame_end(&output.buffer, frame);
}

static void end_input(struct stream *s) {
  if (s->number == STREAM_STDIN)
    stream_close(s);
  else if (s->fd >= 0)
    shutdown(s->fd, SHUT_WR);
}

/* Gives the child as much of the queue as it takes now. What nobody will read is dropped. */
void stream_write(struct stream *s) {
  size_t granted = 0;
  if (s->command->state == COMMAND_QUEUED || s->command->state == COMMAND_ASKED) return;
  while (buffer_length(&s->queue) > 0 && !s->input_closed) {
    ssize_t put =
        s->fd < 0 ? -1 : write(s->fd, s->queue.data + s->queue.head, buffer_length(&s->queue));
    if (put < 0 && s->fd >= 0 && errno == EINTR) continue;
    if (put < 0 && s->fd >= 0 && errno == EAGAIN) break;
    if (put < 0) {
      s->input_closed = true;
      break;
    }
    granted += (size_t)put;
    buffer_drop(&s->queue, (size_t)put);
  }
  if (s->input_closed) {
    granted += buffer_length(&s->queue);
    buffer_drop(&s->queue, buffer_length(&s->queue));
    if (s->number == STREAM_STDIN) stream_close(s);
  }
  grant(s, granted);
  if (s->closing && !s->input_closed && buffer_length(&s->queue) == 0) {
    s->input_closed = true;
    end_input(s);
  }
}

void stream_input(struct stream *s, struct slice bytes) {
  if (bytes.size > WINDOW - buffer_length(&s->queue)) {
    output_fail("INPUT beyond the window of %d bytes", WINDOW);
    return;
  }
  if (bytes.size == 0) s->closing = true;
  buffer_append(&s->queue, bytes.bytes, bytes.size);
  stream_write(s);
}
