/* A switch between the TUN devices of an emulated network: every host has a link of the same rate and delay to it.
 *
 * Usage: switch RATE_BITS_PER_SECOND DELAY_SECONDS FD...; the FDs are TUN devices, that of host i has the address
 * 10.99.0.(i + 1). A packet leaves its host's link when the link has sent what came before, waits for the link of the
 * host it goes to, and arrives after the delay. Nothing is lost; ends when its standard input does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_HOSTS = 64, MAX_PACKET = 65536 };

struct packet {
  struct packet *next;
  double due;
  ssize_t size;
  unsigned char bytes[];
};

struct host {
  int fd;
  double sent_until, received_until; /* when its link is free again, in each direction */
  struct packet *first, *last;       /* on their way to it; their due times rise */
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double larger(double a, double b) { return a > b ? a : b; }

static void accept_packet(struct host *hosts, int count, int from, double rate, double delay) {
  static unsigned char bytes[MAX_PACKET];
  ssize_t size;
  while ((size = read(hosts[from].fd, bytes, sizeof bytes)) > 0) {
    if (size < 20 || bytes[0] >> 4 != 4 || bytes[16] != 10 || bytes[17] != 99) continue;
    int to = bytes[19] - 1;
    if (to < 0 || to >= count) continue;
    double seconds = 8.0 * size / rate;
    struct packet *packet = malloc(sizeof *packet + size);
    if (!packet) exit(1);
    hosts[from].sent_until = larger(now(), hosts[from].sent_until) + seconds;
    hosts[to].received_until = larger(hosts[from].sent_until, hosts[to].received_until + seconds);
    packet->due = hosts[to].received_until + delay;
    packet->size = size;
    packet->next = NULL;
    memcpy(packet->bytes, bytes, size);
    if (hosts[to].first) hosts[to].last->next = packet;
    else hosts[to].first = packet;
    hosts[to].last = packet;
  }
}

static void deliver(struct host *host, double time) {
  while (host->first && host->first->due <= time) {
    struct packet *packet = host->first;
    if (write(host->fd, packet->bytes, packet->size) < 0 && errno == EAGAIN) return;
    host->first = packet->next;
    free(packet);
  }
}

int main(int argc, char **argv) {
  struct host hosts[MAX_HOSTS] = {0};
  struct pollfd polled[MAX_HOSTS + 1];
  if (argc < 4 || argc - 3 > MAX_HOSTS) return 2;
  double rate = atof(argv[1]), delay = atof(argv[2]);
  int count = argc - 3;
  for (int i = 0; i < count; i++) {
    hosts[i].fd = atoi(argv[i + 3]);
    polled[i] = (struct pollfd){hosts[i].fd, POLLIN, 0};
  }
  polled[count] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
  for (;;) {
    double next = 1e300, time = now();
    for (int i = 0; i < count; i++)
      if (hosts[i].first && hosts[i].first->due < next) next = hosts[i].first->due;
    double wait = next > time + 1 ? 1 : larger(next - time, 0);
    struct timespec timeout = {(time_t)wait, (long)(1e9 * (wait - (time_t)wait))};
    if (ppoll(polled, count + 1, &timeout, NULL) < 0 && errno != EINTR) return 1;
    if (polled[count].revents) return 0;
    for (int i = 0; i < count; i++)
      if (polled[i].revents) accept_packet(hosts, count, i, rate, delay);
    for (int i = 0; i < count; i++) deliver(&hosts[i], now());
  }
}
