/* Finds commands by id, by process number and by the tag in a process's environment. */
#define _GNU_SOURCE 1
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct command *active_commands;

static struct command *last; /* of active_commands */
static struct command *by_id[BUCKETS], *by_pid[BUCKETS];
static char *run_id;

void registry_begin(struct slice id) { run_id = must(strndup(id.bytes, id.size)); }

void registry_add(struct command *c) {
  struct command **bucket = &by_id[c->id % BUCKETS];
  c->id_next = *bucket;
  *bucket = c;
}

void registry_add_process(struct command *c) {
  struct command **bucket = &by_pid[(unsigned)c->pid % BUCKETS];
  c->pid_next = *bucket;
  *bucket = c;
}

void registry_remove(struct command *c) {
  struct command **link = &by_id[c->id % BUCKETS];
  while (*link != c) link = &(*link)->id_next;
  *link = c->id_next;
  if (c->pid == 0) return;
  link = &by_pid[(unsigned)c->pid % BUCKETS];
  while (*link != c) link = &(*link)->pid_next;
  *link = c->pid_next;
}

struct command *command_find(uint32_t id) {
  struct command *c = by_id[id % BUCKETS];
  while (c && c->id != id) c = c->id_next;
  return c;
}

struct command *command_of_root(pid_t pid) {
  struct command *c = by_pid[(unsigned)pid % BUCKETS];
  while (c && (c->pid != pid || c->reaped)) c = c->pid_next;
  return c;
}

struct command *command_of_session(pid_t pid) {
  struct command *c = by_pid[(unsigned)pid % BUCKETS];
  while (c && c->pid != pid) c = c->pid_next; /* the newest first: the number may come again */
  return c;
}

/* The host's, or else made from what only this command has. */
const char *command_tag(const struct command *c, char made[static 300]) {
  if (c->launch->tag[0]) return c->launch->tag;
  snprintf(made, 300, "%.250s.%u", run_id, c->id);
  return made;
}

struct command *command_of_tag(const char *tag, size_t size) {
  char made[300];
  for (struct command *c = active_commands; c; c = c->next) {
    const char *own = command_tag(c, made);
    if (strlen(own) == size && memcmp(own, tag, size) == 0) return c;
  }
  return NULL;
}

void registry_activate(struct command *c) {
  c->previous = last;
  c->next = NULL;
  *(last ? &last->next : &active_commands) = c;
  last = c;
}

void registry_deactivate(struct command *c) {
  *(c->previous ? &c->previous->next : &active_commands) = c->next;
  *(c->next ? &c->next->previous : &last) = c->previous;
}
