/* What benchmarks/phone/runner/align.c makes of one case of alignment_vectors.json, with a graph that says what
 * the case says. Standard input: see test_alignment_vectors.py. Standard output: the box and the keypoints that
 * were found, the matrix, and the face. With an argument, which is the rule's ``sure``, the graph has answers for the
 * looks at the turned photograph too, and the output is the face alone. */
#include "align.c"

#include <stdarg.h>
#include <stdio.h>

struct Graph {
  float answers[8][CANDIDATE];
  int asked;
};

void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vfprintf(stderr, format, values);
  exit(2);
}

void *allocate(size_t bytes) {
  void *memory = malloc(bytes);
  if (!memory) die("no memory");
  return memory;
}

static Tensor found = {"candidates", sizeof(float) * CANDIDATE, NULL};

void run_graph(Graph *graph) { found.values = (uint8_t *)graph->answers[graph->asked++]; }

static void take(void *to, size_t bytes) {
  if (fread(to, 1, bytes, stdin) != bytes) die("the input is cut short");
}

static Tensor room(const char *name, int size) {
  size_t bytes = (size_t)size * size * 3;
  return (Tensor){name, bytes, allocate(bytes)};
}

static void write_face(const Picture *picture, const Front *front, const Rule *rule) {
  front->detector->asked = 0;
  align(picture, front, rule);
  fwrite(front->face->values, 1, front->face->bytes, stdout);
}

int main(int count, char **words) {
  int sizes[4];
  double numbers[4];
  Square squares[2];
  Graph graph = {.asked = 0};
  take(sizes, sizeof sizes);
  Rule rule = {.size = sizes[2], .detector_size = sizes[3]};
  take(numbers, sizeof numbers);
  rule.score = numbers[0], rule.overlap = numbers[1], rule.second_look = numbers[2], rule.smallest = numbers[3];
  take(rule.template_, sizeof rule.template_);
  take(squares, sizeof squares);
  take(graph.answers, sizeof graph.answers[0] * (count > 1 ? 8 : 2));
  Tensor seen = room("picture", rule.detector_size), cut = room("face", rule.size);
  Front front = {&graph, &seen, &found, &cut};
  Picture picture = {sizes[0], sizes[1], allocate((size_t)sizes[0] * sizes[1] * 3)};
  take(picture.pixels, (size_t)sizes[0] * sizes[1] * 3);
  if (count > 1) {
    rule.sure = atof(words[1]);
    write_face(&picture, &front, &rule);
    return 0;
  }
  Candidate first, second;
  detections(&picture, squares[0], 0, &front, &rule, &first);
  detections(&picture, squares[1], 0, &front, &rule, &second);
  Map matrix = similarity(second.values + 5, rule.template_);
  fwrite(first.values + 1, sizeof(double), 4, stdout);
  fwrite(second.values + 5, sizeof(double), 8, stdout);
  fwrite(&matrix, sizeof matrix, 1, stdout);
  write_face(&picture, &front, &rule);
  return 0;
}
