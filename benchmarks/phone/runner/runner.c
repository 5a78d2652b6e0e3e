/* Measures one block on a phone: runner KEY=VALUE..., see ``settings``. Standard output is one line of
 * JSON with the rating and every time, in ms, of every run. ``limit`` seconds after its start the program
 * ends itself, so that nothing goes on running when the cable is pulled. */
#define _GNU_SOURCE
#include "kit.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { DECODE, ALIGN, MODEL, TOTAL, STEPS, MOST_RUNS = 1000000 };

static struct {
  const char *detector, *found, *model, *step, *rating, *photo, *cpus;
  int threads, warmup, runs, seconds, limit;
  Rule rule;
} settings;

/* One run of the whole way; times in ms. */
typedef struct {
  double times[STEPS];
  float rating;
} Run;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void read_settings(int count, char **words) {
  double *points = &settings.rule.template_[0][0];
  const struct {
    const char *name;
    const char **text;
    int *whole;
    double *number;
  } known[] = {
      /* Models with the output that is read of each, and what the step of the second one is called. */
      {"detector", &settings.detector, 0, 0},     {"found", &settings.found, 0, 0},
      {"model", &settings.model, 0, 0},           {"rating", &settings.rating, 0, 0},
      {"step", &settings.step, 0, 0},
      {"photo", &settings.photo, 0, 0},           {"cpus", &settings.cpus, 0, 0},
      {"threads", 0, &settings.threads, 0},       {"warmup", 0, &settings.warmup, 0},
      {"runs", 0, &settings.runs, 0},             {"seconds", 0, &settings.seconds, 0},
      {"limit", 0, &settings.limit, 0},
      {"size", 0, &settings.rule.size, 0},        {"detector_size", 0, &settings.rule.detector_size, 0},
      {"score", 0, 0, &settings.rule.score},      {"overlap", 0, 0, &settings.rule.overlap},
      {"second_look", 0, 0, &settings.rule.second_look}, {"smallest", 0, 0, &settings.rule.smallest},
      {"x0", 0, 0, points},     {"y0", 0, 0, points + 1}, {"x1", 0, 0, points + 2}, {"y1", 0, 0, points + 3},
      {"x2", 0, 0, points + 4}, {"y2", 0, 0, points + 5}, {"x3", 0, 0, points + 6}, {"y3", 0, 0, points + 7},
  };
  size_t all = sizeof known / sizeof *known, given = 0;
  for (int n = 1; n < count; n++) {
    const char *value = strchr(words[n], '=');
    size_t length = value ? (size_t)(value - words[n]) : 0;
    for (size_t k = 0; k < all && value; k++) {
      if (strlen(known[k].name) != length || strncmp(known[k].name, words[n], length)) continue;
      if (known[k].text) *known[k].text = value + 1;
      if (known[k].whole) *known[k].whole = atoi(value + 1);
      if (known[k].number) *known[k].number = atof(value + 1);
      given++;
    }
  }
  if (given != all) die("the runner takes %zu settings, %zu were understood; set the kit up again", all, given);
  if (settings.runs < 1 || settings.runs > MOST_RUNS) die("runs is %d", settings.runs);
}

/* Ask for the processors ``cpus``; what the system granted is reported, whatever it was. */
static void pin(void) {
  cpu_set_t wanted;
  CPU_ZERO(&wanted);
  for (const char *at = settings.cpus; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    CPU_SET(atoi(at), &wanted);
  if (*settings.cpus && sched_setaffinity(0, sizeof wanted, &wanted)) perror("pinning was refused");
}

static uint8_t *read_file(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  if (!file) die("%s cannot be read", path);
  fseek(file, 0, SEEK_END);
  *count = (size_t)ftell(file);
  rewind(file);
  uint8_t *bytes = allocate(*count);
  if (fread(bytes, 1, *count, file) != *count) die("%s cannot be read", path);
  fclose(file);
  return bytes;
}

static Run appraise(Graph *detector, Graph *model) {
  Run run;
  size_t count, bytes = (size_t)settings.rule.size * settings.rule.size * 3;
  uint8_t *face = allocate(bytes);
  double start = now();
  uint8_t *encoded = read_file(settings.photo, &count);
  Picture photograph = decode(encoded, count);
  double decoded = now();
  align(&photograph, detector, &settings.rule, face);
  double aligned = now();
  run_graph(model, face, bytes);
  read_output(model, &run.rating, sizeof run.rating);
  double end = now();
  run.times[DECODE] = decoded - start;
  run.times[ALIGN] = aligned - decoded;
  run.times[MODEL] = end - aligned;
  run.times[TOTAL] = end - start;
  free(face);
  free(encoded);
  free(photograph.pixels);
  return run;
}

/* Run until there are enough runs and enough seconds. */
static Run *measure(Graph *detector, Graph *model, int *count) {
  size_t room = (size_t)settings.runs;
  Run *runs = allocate(sizeof *runs * room);
  double start = now();
  for (*count = 0; *count < settings.runs || now() - start < settings.seconds * 1e3; ++*count) {
    if (*count == MOST_RUNS) break;
    if ((size_t)*count == room) {
      Run *more = realloc(runs, sizeof *runs * (room *= 2));
      if (!more) die("out of memory after %d runs", *count);
      runs = more;
    }
    runs[*count] = appraise(detector, model);
  }
  return runs;
}

static void print_cpus(void) {
  cpu_set_t granted;
  const char *comma = "";
  printf("\"cpus\":[");
  if (!sched_getaffinity(0, sizeof granted, &granted))
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
      if (CPU_ISSET(cpu, &granted)) printf("%s%d", comma, cpu), comma = ",";
  printf("]");
}

static void print_times(const Run *runs, int count) {
  const char *names[STEPS] = {"decode", "align", settings.step, "total"};
  for (int step = 0; step < STEPS; step++) {
    printf("%s\"%s\":[", step ? "," : "", names[step]);
    for (int n = 0; n < count; n++) printf("%s%.4f", n ? "," : "", runs[n].times[step]);
    printf("]");
  }
}

/* Nine digits give a float32 back; JSON has no word for what is no number. */
static void print_ratings(const Run *runs, int count) {
  for (int n = 0; n < count; n++) {
    if (n) printf(",");
    if (isfinite(runs[n].rating)) printf("%.9g", (double)runs[n].rating);
    else printf("null");
  }
}

int main(int count, char **words) {
  struct rusage usage;
  int measured;
  read_settings(count, words);
  alarm((unsigned)settings.limit);
  pin();
  double start = now();
  Graph *detector = open_graph(settings.detector, settings.found, settings.threads);
  Graph *model = open_graph(settings.model, settings.rating, settings.threads);
  double load = now() - start;
  double first = appraise(detector, model).times[TOTAL];
  for (int n = 0; n < settings.warmup; n++) appraise(detector, model);
  Run *runs = measure(detector, model, &measured);
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"load\":%.4f,\"first\":%.4f,\"peak_memory_bytes\":%lld,\"page_size\":%ld,", load, first,
         usage.ru_maxrss * 1024LL, sysconf(_SC_PAGESIZE));
  print_cpus();
  printf(",\"chain\":{");
  print_times(runs, measured);
  printf("},\"scores\":[");
  print_ratings(runs, measured);
  printf("]}\n");
  return 0;
}
