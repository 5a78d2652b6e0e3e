/* Measures one block on a phone: runner KEY=VALUE..., see ``read_settings``. Standard output is one line of
 * JSON with every time, in ms, of every run, and the tensors that are asked for. ``limit`` seconds after
 * its start the program ends itself, so that nothing goes on running when the cable is pulled. */
#define _GNU_SOURCE
#include "common.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_RUNS = 1000000, HEX = 2 };

/* What a tensor is where its model is left out: a number, or the values of another tensor. */
typedef struct {
  const char *name, *kind, *from, *number;
} Fill;

/* A model by its file, and its tensors; the models run in the order in which they are given. It is left out where
 * the tensor ``zero`` is all zero; one without a file never runs. */
typedef struct {
  const char *file;
  Names reads, gives;
  Graph *graph;
  const char *zero, *zero_kind;
  Fill *fills;
  size_t fills_count;
} Model;

static struct {
  const char *photo, *profile, *detector, *picture, *found, *face, *cpus;
  int threads, warmup, runs, seconds, limit;
  Rule rule;
  Model *models;
  /* The end-to-end model, which computes everything where a model without a file may not be left out. */
  Model *whole;
  Names inputs, files, keep;
  size_t models_count;
} settings = {.cpus = ""};

/* What is shared by all runs: tensors, the front where the way begins with a photograph, first results. */
static struct {
  Tensors tensors;
  Front front;
  uint8_t **kept;
  int *differing, runs, left_early;
} state;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void append(Names *names, const char *name) { names->all[names->count++] = name; }

static Names names_for(int count) { return (Names){allocate(sizeof(char *) * count), 0}; }

static Model *last_model(const char *key) {
  if (!settings.models_count) die("%s= stands before any model=; set the phone runner up again", key);
  return &settings.models[settings.models_count - 1];
}

static Model *new_model(const char *file, int words) {
  settings.models[settings.models_count] =
      (Model){.file = file, .reads = names_for(words), .gives = names_for(words), .fills = allocate(sizeof(Fill) * words)};
  return &settings.models[settings.models_count++];
}

static Fill *last_fill(const char *key) {
  Model *model = last_model(key);
  if (!model->fills_count) die("%s= stands before any fill=; set the phone runner up again", key);
  return &model->fills[model->fills_count - 1];
}

/* When the last model is left out, and what its tensors are then. */
static int read_skip(const char *key, const char *value) {
  if (!strcmp(key, "zero")) last_model(key)->zero = value;
  else if (!strcmp(key, "zero_kind")) last_model(key)->zero_kind = value;
  else if (!strcmp(key, "fill")) last_model(key)->fills[last_model(key)->fills_count++] = (Fill){.name = value};
  else if (!strcmp(key, "kind")) last_fill(key)->kind = value;
  else if (!strcmp(key, "from")) last_fill(key)->from = value;
  else if (!strcmp(key, "number")) last_fill(key)->number = value;
  else return 0;
  return 1;
}

/* Settings that may come several times: models in their order, each before its tensors, and files of inputs. */
static int read_repeated(const char *key, const char *value, int words) {
  if (!strcmp(key, "model")) new_model(value, words);
  else if (!strcmp(key, "whole")) settings.whole = new_model(value, words);
  else if (!strcmp(key, "reads")) append(&last_model(key)->reads, value);
  else if (!strcmp(key, "gives")) append(&last_model(key)->gives, value);
  else if (!strcmp(key, "input")) append(&settings.inputs, value);
  else if (!strcmp(key, "file")) append(&settings.files, value);
  else if (!strcmp(key, "keep")) append(&settings.keep, value);
  else return 0;
  return 1;
}

static int read_single(const char *key, const char *value) {
  double *points = &settings.rule.template_[0][0];
  const struct {
    const char *name;
    const char **text;
    int *whole;
    double *number;
  } known[] = {
      {"photo", &settings.photo, 0, 0},           {"cpus", &settings.cpus, 0, 0},
      /* "srgb": an embedded colour profile was found to be that of sRGB. */
      {"profile", &settings.profile, 0, 0},
      /* The front: its model, and what goes in and comes out of it. */
      {"detector", &settings.detector, 0, 0},     {"picture", &settings.picture, 0, 0},
      {"found", &settings.found, 0, 0},           {"face", &settings.face, 0, 0},
      {"threads", 0, &settings.threads, 0},       {"warmup", 0, &settings.warmup, 0},
      {"runs", 0, &settings.runs, 0},             {"seconds", 0, &settings.seconds, 0},
      {"limit", 0, &settings.limit, 0},
      {"size", 0, &settings.rule.size, 0},        {"detector_size", 0, &settings.rule.detector_size, 0},
      {"score", 0, 0, &settings.rule.score},      {"overlap", 0, 0, &settings.rule.overlap},
      {"second_look", 0, 0, &settings.rule.second_look}, {"smallest", 0, 0, &settings.rule.smallest},
      {"sure", 0, 0, &settings.rule.sure},
      {"x0", 0, 0, points},     {"y0", 0, 0, points + 1}, {"x1", 0, 0, points + 2}, {"y1", 0, 0, points + 3},
      {"x2", 0, 0, points + 4}, {"y2", 0, 0, points + 5}, {"x3", 0, 0, points + 6}, {"y3", 0, 0, points + 7},
  };
  for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
    if (strcmp(known[k].name, key)) continue;
    if (known[k].text) *known[k].text = value;
    if (known[k].whole) *known[k].whole = atoi(value);
    if (known[k].number) *known[k].number = atof(value);
    return 1;
  }
  return 0;
}

static void read_settings(int count, char **words) {
  settings.models = allocate(sizeof(Model) * count);
  settings.inputs = names_for(count), settings.files = names_for(count), settings.keep = names_for(count);
  for (int n = 1; n < count; n++) {
    char *value = strchr(words[n], '=');
    if (!value) die("%s is not among the runner's settings; set the phone runner up again", words[n]);
    *value++ = 0;
    if (!read_repeated(words[n], value, count) && !read_skip(words[n], value) && !read_single(words[n], value))
      die("%s is not among the runner's settings; set the phone runner up again", words[n]);
  }
  if (settings.runs < 1 || settings.runs > MOST_RUNS) die("runs is %d", settings.runs);
  if (!settings.models_count) die("no model was given; set the phone runner up again");
  if (settings.inputs.count != settings.files.count)
    die("%zu inputs and %zu files were given; set the phone runner up again", settings.inputs.count, settings.files.count);
  if (settings.photo && !(settings.detector && settings.picture && settings.found && settings.face))
    die("a photograph needs detector, picture, found and face; set the phone runner up again");
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

static void check_photograph(void) {
  size_t count;
  uint8_t *encoded = read_file(settings.photo, &count);
  const char *reason = unreadable(encoded, count, settings.profile && !strcmp(settings.profile, "srgb"));
  if (reason) die("%s: upright 8-bit sRGB without transparency is read, and %s; convert it", settings.photo, reason);
  free(encoded);
}

static void load_front(void) {
  Names reads = {&settings.picture, 1}, gives = {&settings.found, 1};
  size_t face = (size_t)settings.rule.size * settings.rule.size * 3;
  need_tensor(&state.tensors, settings.face, face);
  state.front.detector = open_graph(settings.detector, &reads, &gives, &state.tensors, settings.threads);
}

/* Read a golden input into its tensor, which a model must take, at its size. */
static void fill_input(size_t n) {
  size_t count;
  uint8_t *bytes = read_file(settings.files.all[n], &count);
  memcpy(need_tensor(&state.tensors, settings.inputs.all[n], count)->values, bytes, count);
  free(bytes);
}

/* A tensor that a model reads must come from the front, a file or a model before it: zeros are no input. */
static void check_order(void) {
  Names made = names_for((int)state.tensors.count);
  for (size_t n = 0; n < settings.inputs.count; n++) append(&made, settings.inputs.all[n]);
  if (settings.photo) append(&made, settings.face);
  for (size_t m = 0; m < settings.models_count; m++) {
    const Model *model = &settings.models[m];
    for (size_t n = 0; n < model->reads.count; n++) {
      size_t k = 0;
      while (k < made.count && strcmp(made.all[k], model->reads.all[n])) k++;
      if (k == made.count) die("%s reads %s, which nothing before it makes", model->file, model->reads.all[n]);
    }
    for (size_t n = 0; n < model->gives.count; n++) append(&made, model->gives.all[n]);
  }
}

/* What may be left out must be known then, and a model without a file needs one that stands in for it. */
static void check_skips(void) {
  for (size_t m = 0; m < settings.models_count; m++) {
    const Model *model = &settings.models[m];
    if (!*model->file && !(model->zero && settings.whole)) die("a model has no file; set the phone runner up again");
    if (model->zero && !(model->zero_kind && find_tensor(&state.tensors, model->zero)))
      die("nothing makes %s, by which a model is left out; export the bundle again", model->zero);
    for (size_t n = 0; n < model->fills_count; n++) {
      const Fill *fill = &model->fills[n];
      if (!fill->kind || !(fill->from || fill->number) || !find_tensor(&state.tensors, fill->name) ||
          (fill->from && !find_tensor(&state.tensors, fill->from)))
        die("%s cannot be filled; export the bundle again", fill->name);
      kind_named(fill->kind), kind_named(model->zero_kind);
    }
  }
}

static void load(int words) {
  /* Every tensor has a name among the words, so there are never more. */
  state.tensors = (Tensors){allocate(sizeof(Tensor) * words), 0};
  if (settings.photo) check_photograph(), load_front();
  for (size_t n = 0; n < settings.models_count; n++) {
    Model *model = &settings.models[n];
    if (*model->file) model->graph = open_graph(model->file, &model->reads, &model->gives, &state.tensors, settings.threads);
  }
  for (size_t n = 0; n < settings.inputs.count; n++) fill_input(n);
  check_order();
  check_skips();
  if (settings.photo) {
    state.front.picture = find_tensor(&state.tensors, settings.picture);
    state.front.found = find_tensor(&state.tensors, settings.found);
    state.front.face = find_tensor(&state.tensors, settings.face);
    check_front(&state.front, &settings.rule);
  }
  state.kept = allocate(sizeof(uint8_t *) * (settings.keep.count + 1));
  state.differing = allocate(sizeof(int) * (settings.keep.count + 1));
  for (size_t n = 0; n < settings.keep.count; n++) {
    if (!find_tensor(&state.tensors, settings.keep.all[n])) die("no model makes %s", settings.keep.all[n]);
    state.differing[n] = 0;
  }
}

/* Keep the tensors of the first run, and count the later ones that differ from it in any byte. */
static void keep(void) {
  for (size_t n = 0; n < settings.keep.count; n++) {
    const Tensor *tensor = find_tensor(&state.tensors, settings.keep.all[n]);
    if (!state.runs) {
      state.kept[n] = allocate(tensor->bytes);
      memcpy(state.kept[n], tensor->values, tensor->bytes);
    }
    state.differing[n] += memcmp(state.kept[n], tensor->values, tensor->bytes) != 0;
  }
  state.runs++;
}

/* Steps of one run: decode and front where it begins with a photograph, every model, their sum. */
static size_t steps_count(void) { return (settings.photo ? 2 : 0) + settings.models_count + 1; }

static void leave_out(const Model *model) {
  for (size_t n = 0; n < model->fills_count; n++) {
    const Fill *fill = &model->fills[n];
    Tensor *tensor = find_tensor(&state.tensors, fill->name);
    if (fill->from) fill_with_tensor(tensor, kind_named(fill->kind), find_tensor(&state.tensors, fill->from));
    else fill_with_number(tensor, kind_named(fill->kind), atof(fill->number));
  }
}

/* Run models in their order, or leave them out; the end-to-end model does everything where one may not be. */
static void run_models(double *times) {
  double before = now();
  int left = 0;
  memset(times, 0, sizeof *times * settings.models_count);
  for (size_t n = 0; n < settings.models_count; n++) {
    const Model *model = &settings.models[n];
    if (model == settings.whole) break;
    if (model->zero && is_zero(find_tensor(&state.tensors, model->zero), kind_named(model->zero_kind))) {
      leave_out(model);
      left = 1;
    } else if (model->graph) {
      run_graph(model->graph);
    } else {
      model = settings.whole;
      n = (size_t)(model - settings.models);
      run_graph(model->graph);
      left = 0;
    }
    double after = now();
    times[n] = after - before;
    before = after;
    if (model == settings.whole) break;
  }
  if (!state.runs) state.left_early = left;
}

static void run_once(double *times) {
  double start = now(), *at = times;
  if (settings.photo) {
    size_t count;
    uint8_t *encoded = read_file(settings.photo, &count);
    Picture photograph = decode(encoded, count);
    double decoded = now();
    align(&photograph, &state.front, &settings.rule);
    *at++ = decoded - start;
    *at++ = now() - decoded;
    free(encoded);
    free(photograph.pixels);
  }
  run_models(at);
  at[settings.models_count] = now() - start;
  keep();
}

/* Run until there are enough runs and enough seconds; the times of a run stand together. */
static double *measure(int *count) {
  size_t steps = steps_count(), room = (size_t)settings.runs;
  double *times = allocate(sizeof *times * steps * room), start = now();
  for (*count = 0; *count < settings.runs || now() - start < settings.seconds * 1e3; ++*count) {
    if (*count == MOST_RUNS) break;
    if ((size_t)*count == room) {
      double *more = realloc(times, sizeof *times * steps * (room *= 2));
      if (!more) die("out of memory after %d runs", *count);
      times = more;
    }
    run_once(times + steps * *count);
  }
  return times;
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

/* One list for each step, in the order of ``run_once``. */
static void print_times(const double *times, int count) {
  size_t steps = steps_count();
  printf("\"steps\":[");
  for (size_t step = 0; step < steps; step++) {
    printf("%s[", step ? "," : "");
    for (int n = 0; n < count; n++) printf("%s%.4f", n ? "," : "", times[steps * n + step]);
    printf("]");
  }
  printf("]");
}

/* Bytes as they lie in memory, in hexadecimal: nothing is lost, and NaN needs no word. */
static void print_kept(void) {
  static const char digits[] = "0123456789abcdef";
  printf("\"tensors\":{");
  for (size_t n = 0; n < settings.keep.count; n++) {
    const Tensor *tensor = find_tensor(&state.tensors, settings.keep.all[n]);
    char *text = allocate(HEX * tensor->bytes + 1);
    for (size_t k = 0; k < tensor->bytes; k++) {
      text[HEX * k] = digits[state.kept[n][k] >> 4];
      text[HEX * k + 1] = digits[state.kept[n][k] & 15];
    }
    text[HEX * tensor->bytes] = 0;
    printf("%s\"%s\":{\"differing\":%d,\"bytes\":\"%s\"}", n ? "," : "", tensor->name, state.differing[n], text);
    free(text);
  }
  printf("}");
}

int main(int count, char **words) {
  struct rusage usage;
  int measured;
  read_settings(count, words);
  alarm((unsigned)settings.limit);
  pin();
  double start = now();
  load(count);
  double load_ms = now() - start, *spent = allocate(sizeof(double) * steps_count());
  run_once(spent);
  double first = spent[steps_count() - 1];
  for (int n = 0; n < settings.warmup; n++) run_once(spent);
  double *times = measure(&measured);
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"load\":%.4f,\"first\":%.4f,\"peak_memory_bytes\":%lld,\"page_size\":%ld,\"left_early\":%s,", load_ms, first,
         usage.ru_maxrss * 1024LL, sysconf(_SC_PAGESIZE), state.left_early ? "true" : "false");
  print_cpus();
  printf(",");
  print_times(times, measured);
  printf(",");
  print_kept();
  printf("}\n");
  return 0;
}
