/* Queues commands in lanes. A lane exists as long as it holds a command. */
#include "lane.h"

#include <stdlib.h>

struct lane {
  uint32_t number;
  bool due;                     /* first is to be started */
  struct command *first, *last; /* first is the one that runs */
  struct lane *next;
};

static struct lane *lanes;
static bool any_due;

static struct lane *lane_of(uint32_t number) {
  struct lane *lane = lanes;
  while (lane && lane->number != number) lane = lane->next;
  if (!lane) {
    lane = must(calloc(1, sizeof *lane));
    lane->number = number;
    lane->next = lanes;
    lanes = lane;
  }
  return lane;
}

bool lane_join(struct command *c, uint32_t number) {
  struct lane *lane = c->lane = lane_of(number);
  bool is_first = !lane->first;
  *(is_first ? &lane->first : &lane->last->lane_next) = c;
  lane->last = c;
  return is_first;
}

/* Takes the command out of its lane; if it was the first there, the next one is due. */
void lane_leave(struct command *c) {
  struct lane *lane = c->lane;
  if (!lane) return;
  c->lane = NULL;
  if (lane->first != c) {
    struct command *before = lane->first;
    while (before->lane_next != c) before = before->lane_next;
    before->lane_next = c->lane_next;
    if (lane->last == c) lane->last = before;
    return;
  }
  lane->first = c->lane_next;
  if (lane->first) {
    lane->due = any_due = true;
    return;
  }
  struct lane **link = &lanes;
  while (*link != lane) link = &(*link)->next;
  *link = lane->next;
  free(lane);
}

bool lanes_are_due(void) { return any_due; }

/* One command a lane: if they all fail to start, the agent still listens in between. */
void lanes_start_due(void (*start)(struct command *c)) {
  struct lane *next;
  any_due = false;
  for (struct lane *lane = lanes; lane; lane = next) {
    next = lane->next; /* starting can end the command, and with it its lane, but no other */
    if (!lane->due) continue;
    lane->due = false;
    lane->first->follows = true;
    start(lane->first);
  }
}
