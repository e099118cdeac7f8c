/* Finds the functions of libcurl. */
#include "libcurl.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

struct libcurl libcurl;

const char *libcurl_load(void) {
  static void *library; /* stays loaded */
  if (library != NULL) return NULL;
  void *opened = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (opened == NULL) return dlerror();
  void *found;
#define LIBCURL_FIND(name)              \
  found = dlsym(opened, "curl_" #name); \
  if (found == NULL) return dlerror();  \
  memcpy(&libcurl.name, &found, sizeof found);
  LIBCURL_FUNCTIONS(LIBCURL_FIND)
#undef LIBCURL_FIND
  library = opened;
  return NULL;
}
