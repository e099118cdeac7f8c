/*
 * Finds files that tests leave behind by patterns, one folder a step, and sends them as the host has
 * credit for them. No link is followed, and nothing but plain files is opened.
 */
#define _GNU_SOURCE 1
#include "artifact.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/wire/output.h"
#include "common/glob.h"
#include "manifest.h"
#include "walk.h"

enum { FOUND_BATCH = 16 << 10, STEP_US = 5000 };

struct artifact {
  struct artifact *next;
  uint32_t id;
  int root; /* LIST: the folder; GET: the file */
  bool is_list;
  /* LIST */
  char **globs, **folders; /* folders: those to be read yet, relative, "" is the first */
  size_t glob_count, folder_count, found;
  bool more;
  uint64_t from_ns, until_ns;
  struct walk walk;
  struct buffer batch;
  /* GET */
  uint64_t left;
  uint32_t credit;
};

static struct artifact *all;

static struct artifact *find(uint32_t id) {
  struct artifact *a = all;
  while (a && a->id != id) a = a->next;
  return a;
}

static char *text_of(struct slice s) { return must(strndup(s.bytes, s.size)); }

static void drop(struct artifact *a) {
  struct artifact **link = &all;
  while (*link != a) link = &(*link)->next;
  *link = a->next;
  walk_end(&a->walk);
  if (a->root >= 0) close(a->root);
  for (size_t i = 0; i < a->glob_count; i++) free(a->globs[i]);
  for (size_t i = 0; i < a->folder_count; i++) free(a->folders[i]);
  free(a->globs);
  free(a->folders);
  buffer_free(&a->batch);
  free(a);
}

static void end(struct artifact *a, int error, const char *text) {
  output_done(a->id, error, text, strlen(text));
  drop(a);
}

static struct artifact *begin(uint32_t id, bool is_list) {
  struct artifact *a = must(calloc(1, sizeof *a));
  a->id = id;
  a->is_list = is_list;
  a->root = -1;
  walk_begin(&a->walk, -1);
  a->next = all;
  all = a;
  return a;
}

static void push_folder(struct artifact *a, char *folder) {
  a->folders = must(realloc(a->folders, (a->folder_count + 1) * sizeof *a->folders));
  a->folders[a->folder_count++] = folder;
}

void artifact_list(uint32_t id, const struct list_frame *frame) {
  struct artifact *a = begin(id, true);
  struct reader globs = frame->globs;
  char *folder = text_of(frame->folder);
  a->root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (a->root < 0) {
    end(a, errno, folder);
    free(folder);
    return;
  }
  free(folder);
  walk_begin(&a->walk, a->root);
  a->glob_count = frame->count;
  a->globs = must(calloc(frame->count + 1, sizeof *a->globs));
  for (size_t i = 0; i < frame->count; i++) a->globs[i] = text_of(take_name(&globs));
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t now_us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000;
  if (frame->newer_us > 0 && frame->newer_us < now_us)
    a->from_ns = (now_us - frame->newer_us) * 1000;
  a->until_ns = UINT64_MAX;
  if (frame->older_us > 0)
    a->until_ns = frame->older_us < now_us ? (now_us - frame->older_us) * 1000 : 0;
  push_folder(a, must(strdup("")));
}

static bool any(const struct artifact *a, bool (*test)(const char *, const char *),
                const char *path) {
  for (size_t i = 0; i < a->glob_count; i++)
    if (test(a->globs[i], path)) return true;
  return false;
}

static void send_batch(struct artifact *a) {
  if (buffer_length(&a->batch) == 0) return;
  size_t frame = frame_begin(&output.buffer, AGENT_FOUND, a->id);
  put_bytes(&output.buffer, a->batch.data, a->batch.end);
  frame_end(&output.buffer, frame);
  buffer_drop(&a->batch, buffer_length(&a->batch));
}

static void found(struct artifact *a, const char *path, const struct stat *st) {
  struct stamp stamp = stamp_of(st);
  /* The ctime: nobody can set it back. */
  if (stamp.ctime_ns < a->from_ns || stamp.ctime_ns >= a->until_ns) return;
  put_u64(&a->batch, (uint64_t)st->st_size);
  put_u64(&a->batch, stamp.ctime_ns);
  put_u64(&a->batch, stamp.inode);
  put_str(&a->batch, path, strlen(path));
  a->found++;
  if (buffer_length(&a->batch) >= FOUND_BATCH) send_batch(a);
}

static void look_at(struct artifact *a, int folder, const char *path, const char *name) {
  struct stat st;
  bool wanted = any(a, glob_matches, path), deeper = any(a, glob_reaches, path);
  if ((!wanted && !deeper) || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0) return;
  if (S_ISREG(st.st_mode) && wanted)
    found(a, path, &st);
  else if (S_ISDIR(st.st_mode) && deeper && strcmp(name, ".git") != 0)
    push_folder(a, must(strdup(path)));
}

/* Reads one folder. What has gone or cannot be read holds nothing for us. */
static void step_list(struct artifact *a) {
  if (a->folder_count == 0 || a->found >= FOUND_MAX) {
    send_batch(a);
    end(a, 0, a->more || a->folder_count > 0 ? "more" : "");
    return;
  }
  char *path = a->folders[--a->folder_count], below[PATH_MAX];
  const char *name;
  snprintf(below, sizeof below, "%s/.", path);
  int parent = walk_parent(&a->walk, *path ? below : ".", &name);
  int fd = parent < 0 ? -1 : openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *folder = fd < 0 ? NULL : fdopendir(fd);
  if (!folder && fd >= 0) close(fd);
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    if (a->found >= FOUND_MAX) {
      a->more = true;
      break;
    }
    name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    int size = snprintf(below, sizeof below, "%s%s%s", path, *path ? "/" : "", name);
    if (size < (int)sizeof below) look_at(a, dirfd(folder), below, name);
  }
  if (folder) closedir(folder);
  free(path);
}

void artifact_get(uint32_t id, const struct get_frame *frame) {
  struct artifact *a = begin(id, false);
  struct stat st = {0};
  char *folder = text_of(frame->folder), *path = text_of(frame->path);
  const char *name;
  int error = 0;
  int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) error = errno;
  walk_begin(&a->walk, root);
  int parent = error ? -1 : walk_parent(&a->walk, path, &name);
  if (!error && parent < 0) error = errno;
  if (!error) a->root = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (!error && (a->root < 0 || fstat(a->root, &st) < 0)) error = errno;
  if (!error && !S_ISREG(st.st_mode)) error = EINVAL;
  if (!error && (uint64_t)st.st_size > frame->most) error = EFBIG;
  walk_end(&a->walk);
  if (root >= 0) close(root);
  a->left = error ? 0 : (uint64_t)st.st_size; /* what is added later is not of interest */
  a->credit = WINDOW;
  if (error) end(a, error, path);
  free(folder);
  free(path);
}

/* One frame's worth. */
static void step_get(struct artifact *a) {
  size_t size = OUT_MAX;
  if (size > a->credit) size = a->credit;
  if (size > a->left) size = (size_t)a->left;
  size_t frame = frame_begin(&output.buffer, AGENT_DATA, a->id);
  ssize_t got = size == 0 ? 0 : read(a->root, buffer_reserve(&output.buffer, size), size);
  if (got > 0) {
    output.buffer.end += (size_t)got;
    frame_end(&output.buffer, frame);
    a->credit -= (uint32_t)got;
    a->left -= (uint64_t)got;
    if (a->left > 0) return;
  } else {
    output.buffer.end = output.buffer.head + frame; /* take the empty frame back */
    if (got < 0 && errno == EINTR) return;
  }
  end(a, got < 0 ? errno : 0, ""); /* a file cut off meanwhile ends early, as any reader sees it */
}

static bool has_work(const struct artifact *a) {
  return a->is_list || a->credit > 0 || a->left == 0;
}

bool artifact_turn(void) {
  int64_t until = monotonic_us() + STEP_US;
  bool more = false;
  for (struct artifact *a = all, *next; a; a = next) {
    uint32_t id = a->id;
    next = a->next;
    while (a && has_work(a)) {
      if (output.over || buffer_length(&output.buffer) >= OUTPUT_HIGH || monotonic_us() >= until) {
        more = true;
        break;
      }
      if (a->is_list)
        step_list(a);
      else
        step_get(a);
      a = find(id); /* it may have come to its end */
    }
  }
  return more;
}

bool artifact_credit(uint32_t id, uint32_t bytes) {
  struct artifact *a = find(id);
  if (a) a->credit += bytes < UINT32_MAX - a->credit ? bytes : UINT32_MAX - a->credit;
  return a != NULL;
}

bool artifact_stop(uint32_t id) {
  struct artifact *a = find(id);
  if (a) end(a, ECANCELED, "stopped");
  return a != NULL;
}

void artifact_end_all(void) {
  while (all) drop(all);
}
