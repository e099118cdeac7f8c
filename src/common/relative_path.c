/* Refuses paths that lead out of a folder. */
#include "relative_path.h"

#include <limits.h>
#include <string.h>

bool path_is_plain(const char *path) {
  if (strlen(path) >= PATH_MAX - 64) return false; /* room for the folder and a suffix */
  for (const char *part = path;; part++) {
    size_t size = strcspn(part, "/");
    if (size == 0 || size > NAME_MAX) return false;
    if (part[0] == '.' && (size == 1 || (size == 2 && part[1] == '.'))) return false;
    part += size;
    if (!*part) return true;
  }
}
