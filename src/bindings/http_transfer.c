/* Drives libcurl for runner.core.http, see http_transfer.h. libcurl's callbacks append to buffers and lists, and apply
 * its wishes to the epoll set as they come, because the number of a closed socket may come back at once. */
#include "http_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h> /* names of errno values */

#define HEAD_LIMIT       (256L * 1024) /* of a response's status line and headers */
#define BODY_WINDOW      (256L * 1024) /* bytes not yet read: libcurl then leaves the socket alone */
#define RECEIVE_SIZE     (64L * 1024)  /* of libcurl's own buffer */
#define IDLE_CONNECTIONS 32
#define EVENTS           64

static bool buffer_add(struct http_buffer *buffer, const char *bytes, size_t size) {
  if (size > buffer->capacity - buffer->size) {
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : 1024;
    while (capacity - buffer->size < size) capacity *= 2;
    char *grown = realloc(buffer->bytes, capacity);
    if (grown == NULL) return false;
    buffer->bytes = grown;
    buffer->capacity = capacity;
  }
  memcpy(buffer->bytes + buffer->size, bytes, size);
  buffer->size += size;
  return true;
}

static void buffer_free(struct http_buffer *buffer) {
  free(buffer->bytes);
  *buffer = (struct http_buffer){0};
}

/* Puts the transfer into its multi's list of those with news, once. */
static void announce(struct http_transfer *transfer) {
  struct http_multi *multi = transfer->multi;
  if (transfer->queued || multi == NULL) return;
  transfer->queued = true;
  transfer->next_ready = NULL;
  *multi->ready_end = transfer;
  multi->ready_end = &transfer->next_ready;
}

struct http_transfer *http_multi_next_ready(struct http_multi *multi) {
  struct http_transfer *first = multi->ready;
  if (first == NULL) return NULL;
  multi->ready = first->next_ready;
  if (multi->ready == NULL) multi->ready_end = &multi->ready;
  first->queued = false;
  return first;
}

static void leave_ready(struct http_transfer *transfer) {
  struct http_multi *multi = transfer->multi;
  if (!transfer->queued) return;
  struct http_transfer **link = &multi->ready;
  while (*link != transfer) link = &(*link)->next_ready;
  *link = transfer->next_ready;
  if (*link == NULL) multi->ready_end = link;
  transfer->queued = false;
}

/* Takes the transfer from libcurl's multi with its final result. */
static void finish(struct http_transfer *transfer, CURLcode result) {
  if (transfer->added) libcurl.multi_remove_handle(transfer->multi->handle, transfer->easy);
  transfer->added = false;
  if (transfer->done) return;
  transfer->done = true;
  transfer->result = result;
  announce(transfer);
}

/* libcurl's callbacks. */

static int on_socket(CURL *easy, curl_socket_t fd, int wants, void *data, void *unused) {
  (void)easy;
  (void)unused;
  const struct http_multi *multi = data;
  if (wants != CURL_POLL_IN && wants != CURL_POLL_OUT && wants != CURL_POLL_INOUT) {
    epoll_ctl(multi->epoll, EPOLL_CTL_DEL, fd, NULL); /* fails when it was not in, which is fine */
    return 0;
  }
  /* For the sake of libcurl's own socket pair, which its resolver thread writes to. */
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  struct epoll_event event = {.data.fd = fd};
  if (wants & CURL_POLL_IN) event.events |= EPOLLIN;
  if (wants & CURL_POLL_OUT) event.events |= EPOLLOUT;
  if (epoll_ctl(multi->epoll, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
  return epoll_ctl(multi->epoll, EPOLL_CTL_ADD, fd, &event); /* -1: multi:action fails */
}

static int on_timer(CURLM *handle, long ms, void *data) {
  (void)handle;
  const struct http_multi *multi = data;
  struct itimerspec when = {0}; /* which also disarms it: ms is -1 then */
  if (ms > 0) when.it_value = (struct timespec){ms / 1000, ms % 1000 * 1000000};
  if (ms == 0) when.it_value.tv_nsec = 1;
  return timerfd_settime(multi->timer, 0, &when, NULL);
}

/* libcurl's own sockets would be inherited by every child. */
static curl_socket_t on_open_socket(void *data, curlsocktype purpose,
                                    struct curl_sockaddr *address) {
  (void)data;
  (void)purpose;
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_header(char *line, size_t one, size_t size, void *data) {
  struct http_transfer *transfer = data;
  (void)one;
  if (transfer->head_complete) return size; /* a trailer */
  /* A second status line: what came before was a 1xx. */
  if (size >= 5 && memcmp(line, "HTTP/", 5) == 0) transfer->head.size = 0;
  if (transfer->head.size + size > (size_t)HEAD_LIMIT) {
    transfer->head_too_long = true;
    return 0;
  }
  if (!buffer_add(&transfer->head, line, size)) {
    transfer->out_of_memory = true;
    return 0;
  }
  if (line[0] == '\n' || (size >= 2 && line[0] == '\r' && line[1] == '\n')) {
    libcurl.easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->status);
    if (transfer->status >= 200 || transfer->status == 101) {
      transfer->head_complete = true;
      announce(transfer);
    }
  }
  return size;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *data) {
  struct http_transfer *transfer = data;
  (void)one;
  if (transfer->body.size >= (size_t)BODY_WINDOW) {
    transfer->receive_paused = true;
    return CURL_WRITEFUNC_PAUSE; /* libcurl keeps these bytes and hands them over again */
  }
  if (!buffer_add(&transfer->body, bytes, size)) {
    transfer->out_of_memory = true;
    return 0;
  }
  announce(transfer);
  return size;
}

static size_t on_upload(char *bytes, size_t one, size_t capacity, void *data) {
  struct http_transfer *transfer = data;
  (void)one;
  if (transfer->out_size == 0) {
    if (transfer->out_ended) return 0;
    transfer->send_paused = true;
    announce(transfer);
    return CURL_READFUNC_PAUSE;
  }
  size_t size = transfer->out_size < capacity ? transfer->out_size : capacity;
  memcpy(bytes, transfer->out, size);
  transfer->out += size;
  transfer->out_size -= size;
  return size;
}

void http_transfer_apply_pauses(struct http_transfer *transfer) {
  if (!transfer->added) return;
  int paused = (transfer->receive_paused ? CURLPAUSE_RECV : 0) |
               (transfer->send_paused ? CURLPAUSE_SEND : 0);
  CURLcode result = libcurl.easy_pause(transfer->easy, paused);
  if (result != CURLE_OK) finish(transfer, result);
}

static void detach(struct http_transfer *transfer) {
  struct http_multi *multi = transfer->multi;
  if (multi == NULL) return;
  leave_ready(transfer);
  if (transfer->previous != NULL)
    transfer->previous->next = transfer->next;
  else
    multi->transfers = transfer->next;
  if (transfer->next != NULL) transfer->next->previous = transfer->previous;
  transfer->previous = transfer->next = NULL;
  transfer->multi = NULL;
}

const char *http_transfer_code(const struct http_transfer *transfer) {
  if (transfer->head_too_long) return "EMSGSIZE";
  if (transfer->out_of_memory) return "ENOMEM";
  switch (transfer->result) {
  case CURLE_ABORTED_BY_CALLBACK: return "ECANCELED";
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY: return "EAI_NONAME";
  case CURLE_COULDNT_CONNECT:
    return transfer->os_error != 0 ? uv_err_name(uv_translate_sys_error((int)transfer->os_error))
                                   : "ECONNREFUSED";
  case CURLE_OPERATION_TIMEDOUT: return "ETIMEDOUT";
  case CURLE_PARTIAL_FILE:
  case CURLE_GOT_NOTHING: return "EOF";
  case CURLE_SEND_ERROR:
  case CURLE_RECV_ERROR: return "ECONNRESET";
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_BAD_CONTENT_ENCODING: return "EPROTO";
  case CURLE_URL_MALFORMAT: return "EINVAL";
  case CURLE_OUT_OF_MEMORY: return "ENOMEM";
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CIPHER: return "ESSL";
  default: return "EIO";
  }
}

const char *http_transfer_message(const struct http_transfer *transfer) {
  if (transfer->head_too_long) return "the response's headers are too long";
  if (transfer->out_of_memory) return "out of memory";
  switch (transfer->result) {
  case CURLE_ABORTED_BY_CALLBACK: return "the client was closed";
  case CURLE_UNSUPPORTED_PROTOCOL: return "the answer is not HTTP"; /* or HTTP/0.9 */
  default:
    return transfer->error[0] != '\0' ? transfer->error : libcurl.easy_strerror(transfer->result);
  }
}

bool http_transfer_open(struct http_transfer *transfer) {
  CURL *easy = libcurl.easy_init();
  if (easy == NULL) return false;
  transfer->easy = easy;
  libcurl.easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  libcurl.easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  libcurl.easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  libcurl.easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  libcurl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  libcurl.easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  libcurl.easy_setopt(easy, CURLOPT_READFUNCTION, on_upload);
  libcurl.easy_setopt(easy, CURLOPT_READDATA, transfer);
  libcurl.easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  libcurl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  /* Leaving does not wait for a name to be resolved. */
  libcurl.easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  libcurl.easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_SIZE);
  libcurl.easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  libcurl.easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  /* Over HTTP/2 a paused transfer still fills its 32 MB window; over HTTP/1.1 the socket is left alone. */
  libcurl.easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  return true;
}

CURLMcode http_transfer_join(struct http_transfer *transfer, struct http_multi *multi) {
  transfer->multi = multi;
  transfer->next = multi->transfers;
  if (multi->transfers != NULL) multi->transfers->previous = transfer;
  multi->transfers = transfer;
  CURLMcode code = libcurl.multi_add_handle(multi->handle, transfer->easy);
  transfer->added = code == CURLM_OK;
  return code;
}

void http_transfer_close(struct http_transfer *transfer) {
  if (transfer->easy == NULL) return;
  finish(transfer, CURLE_ABORTED_BY_CALLBACK);
  detach(transfer);
  libcurl.easy_cleanup(transfer->easy);
  transfer->easy = NULL;
  libcurl.slist_free_all(transfer->headers);
  transfer->headers = NULL;
  buffer_free(&transfer->head);
  buffer_free(&transfer->body);
  transfer->out = NULL;
  transfer->out_size = 0;
}

/* Takes down what libcurl says has ended. */
static void collect(struct http_multi *multi) {
  int left;
  const CURLMsg *message;
  while ((message = libcurl.multi_info_read(multi->handle, &left)) != NULL) {
    if (message->msg != CURLMSG_DONE) continue;
    CURLcode result = message->data.result; /* removing the handle frees the message */
    char *private = NULL;
    libcurl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
    struct http_transfer *transfer = (struct http_transfer *)private;
    libcurl.easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &transfer->os_error);
    /* So libcurl calls one header of more than 100 KB. */
    if (result == CURLE_OUT_OF_MEMORY && transfer->head.size > 0 && !transfer->head_complete)
      transfer->head_too_long = true;
    finish(transfer, result);
  }
}

CURLMcode http_multi_act(struct http_multi *multi) {
  struct epoll_event events[EVENTS]; /* what does not fit is found the next time */
  int count = epoll_wait(multi->epoll, events, EVENTS, 0);
  CURLMcode code = CURLM_OK;
  for (int i = 0; i < count && code == CURLM_OK; i++) {
    curl_socket_t fd = events[i].data.fd;
    int bits = 0, running;
    if (fd == multi->timer) {
      uint64_t expirations;
      (void)!read(fd, &expirations, sizeof expirations);
      fd = CURL_SOCKET_TIMEOUT;
    } else {
      /* Told of an error, libcurl would give up what is still to be read: it finds out by itself. */
      const uint32_t broken = EPOLLERR | EPOLLHUP;
      if (events[i].events & (EPOLLIN | broken)) bits |= CURL_CSELECT_IN;
      if (events[i].events & (EPOLLOUT | broken)) bits |= CURL_CSELECT_OUT;
    }
    code = libcurl.multi_socket_action(multi->handle, fd, bits, &running);
  }
  collect(multi);
  return code;
}

/* libcurl 7.88 keeps a socket pair of its own in each multi and does not mark it: a new pair gets the two lowest free
 * numbers, so those are looked up before and marked after. */
static CURLM *new_handle(void) {
  int pair[2];
  for (int i = 0; i < 2; i++) pair[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (int i = 0; i < 2; i++)
    if (pair[i] >= 0) close(pair[i]);
  CURLM *handle = libcurl.multi_init();
  for (int i = 0; i < 2; i++) {
    struct stat status;
    if (pair[i] >= 0 && fstat(pair[i], &status) == 0 && S_ISSOCK(status.st_mode))
      (void)fcntl(pair[i], F_SETFD, FD_CLOEXEC);
  }
  return handle;
}

int http_multi_open(struct http_multi *multi) {
  multi->ready_end = &multi->ready;
  multi->timer = -1;
  multi->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (multi->epoll < 0) return errno;
  multi->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (multi->timer < 0) return errno;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = multi->timer};
  if (epoll_ctl(multi->epoll, EPOLL_CTL_ADD, multi->timer, &event) != 0) return errno;
  CURLM *handle = new_handle();
  if (handle == NULL) return ENOMEM;
  multi->handle = handle;
  libcurl.multi_setopt(handle, CURLMOPT_SOCKETFUNCTION, on_socket);
  libcurl.multi_setopt(handle, CURLMOPT_SOCKETDATA, multi);
  libcurl.multi_setopt(handle, CURLMOPT_TIMERFUNCTION, on_timer);
  libcurl.multi_setopt(handle, CURLMOPT_TIMERDATA, multi);
  libcurl.multi_setopt(handle, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
  return 0;
}

void http_multi_close(struct http_multi *multi) {
  struct http_transfer *next;
  for (struct http_transfer *transfer = multi->transfers; transfer != NULL; transfer = next) {
    next = transfer->next;
    finish(transfer, CURLE_ABORTED_BY_CALLBACK);
    detach(transfer);
  }
  if (multi->handle != NULL) libcurl.multi_cleanup(multi->handle);
  multi->handle = NULL;
  if (multi->timer >= 0) close(multi->timer);
  if (multi->epoll >= 0) close(multi->epoll);
  multi->timer = multi->epoll = -1;
}
