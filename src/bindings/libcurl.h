/* Loads libcurl when it is first needed: it brings some thirty libraries along, and to load those would be most of
 * what the start of the runner takes, and of each local agent, which is the same program. */
#ifndef RUNNER_LIBCURL_H
#define RUNNER_LIBCURL_H

#define CURL_DISABLE_TYPECHECK /* curl/curl.h would call its functions by name */
#include <curl/curl.h>

/* A member for each of its functions that we use: libcurl.easy_init is curl_easy_init. */
#define LIBCURL_FUNCTIONS(FUNCTION) \
  FUNCTION(easy_cleanup)            \
  FUNCTION(easy_getinfo)            \
  FUNCTION(easy_init)               \
  FUNCTION(easy_pause)              \
  FUNCTION(easy_setopt)             \
  FUNCTION(easy_strerror)           \
  FUNCTION(global_init)             \
  FUNCTION(multi_add_handle)        \
  FUNCTION(multi_cleanup)           \
  FUNCTION(multi_info_read)         \
  FUNCTION(multi_init)              \
  FUNCTION(multi_remove_handle)     \
  FUNCTION(multi_setopt)            \
  FUNCTION(multi_socket_action)     \
  FUNCTION(multi_strerror)          \
  FUNCTION(slist_append)            \
  FUNCTION(slist_free_all)

struct libcurl {
#define LIBCURL_MEMBER(name) __typeof__(curl_##name) *(name);
  LIBCURL_FUNCTIONS(LIBCURL_MEMBER)
#undef LIBCURL_MEMBER
};

extern struct libcurl libcurl;

/* Returns NULL, or why it cannot be loaded (static memory). More than once is fine. */
const char *libcurl_load(void);

#endif
