/* Drives the multis and transfers of runner.core.http: everything here runs with libcurl and without a lua_State. */
#ifndef RUNNER_HTTP_TRANSFER_H
#define RUNNER_HTTP_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>

#include "libcurl.h"

struct http_buffer {
  char *bytes;
  size_t size, capacity;
};

struct http_transfer;

struct http_multi {
  CURLM *handle;                   /* NULL = closed */
  int epoll, timer;                /* -1 = closed */
  struct http_transfer *transfers; /* all that point here */
  struct http_transfer *ready, **ready_end;
};

struct http_transfer {
  CURL *easy;               /* NULL = closed */
  struct http_multi *multi; /* NULL = closed, or the multi is */
  struct http_transfer *previous, *next, *next_ready;
  struct curl_slist *headers;
  struct http_buffer head, body;
  const char *out; /* not yet sent; inside the string that is user value 2 */
  size_t out_size;
  bool added; /* libcurl's multi has it */
  bool queued;
  bool head_complete, done;
  bool upload, out_ended; /* the body is written piece by piece; its last piece was */
  bool receive_paused, send_paused;
  bool out_of_memory, head_too_long;
  long status;
  long os_error;
  CURLcode result;             /* valid once done */
  char error[CURL_ERROR_SIZE]; /* libcurl's words for it */
};

/* Opens a zeroed multi; returns an errno value, 0 for success. On failure it still has to be closed. */
int http_multi_open(struct http_multi *multi);

/* Ends its transfers with CURLE_ABORTED_BY_CALLBACK; they stay readable. More than once is fine. */
void http_multi_close(struct http_multi *multi);

/* Does what can be done now; never waits. */
CURLMcode http_multi_act(struct http_multi *multi);

/* The first transfer with news leaves the list; NULL when it is empty. */
struct http_transfer *http_multi_next_ready(struct http_multi *multi);

/* Gives a zeroed transfer its easy handle, with the callbacks set; false without memory. */
bool http_transfer_open(struct http_transfer *transfer);

/* Starts it. */
CURLMcode http_transfer_join(struct http_transfer *transfer, struct http_multi *multi);

/* Tells libcurl which directions stand still; it may call back and announce news. */
void http_transfer_apply_pauses(struct http_transfer *transfer);

/* What went wrong with a transfer that is done: an upper-case name, and words. */
const char *http_transfer_code(const struct http_transfer *transfer);
const char *http_transfer_message(const struct http_transfer *transfer);

/* Ends it whatever its state. More than once is fine. */
void http_transfer_close(struct http_transfer *transfer);

#endif
