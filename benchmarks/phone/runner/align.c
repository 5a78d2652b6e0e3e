/* From pixels to the aligned face, by the rule of the manifest. */
#include "common.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Maps (x, y) to (a x + b y + c, d x + e y + f). */
typedef struct {
  double a, b, c, d, e, f;
} Map;

/* What the detector says of one face: score, box (centre x, y, width, height), six keypoints (x, y). */
typedef struct {
  double values[CANDIDATE];
} Candidate;

typedef struct {
  double x, y, side;
} Square;

/* Two ways of counting an exact half differ in a last bit and must not round apart. */
static const double BIT = 1e-6, HALF = 0.5 + 1e-6;
/* Steps of a pixel in which a face is placed: last bits of a detector shall not move it. */
static const double STEPS = 8;

static double clip(double value, double limit) { return value < 0 ? 0 : value > limit ? limit : value; }

static Map inverse(Map m) {
  double det = m.a * m.e - m.b * m.d;
  return (Map){m.e / det,  -m.b / det, (m.b * m.f - m.c * m.e) / det,
               -m.d / det, m.a / det,  (m.c * m.d - m.a * m.f) / det};
}

/* Where pixel (u, v) of the cut lies among boxes of ``box`` x ``box`` pixels of the photograph. */
static void place(const Map *back, int u, int v, int box, const int last[2], double at[2]) {
  double x = back->a * u + back->b * v + back->c, y = back->d * u + back->e * v + back->f;
  at[0] = clip((x + 0.5) / box - 0.5, last[0]);
  at[1] = clip((y + 0.5) / box - 0.5, last[1]);
}

/* Average the boxes from ``low`` to ``high`` (x, y), both included: [rows, columns, 3]. */
static double *reduce(const Picture *p, const int low[2], const int high[2], int box) {
  int columns = high[0] - low[0] + 1, rows = high[1] - low[1] + 1;
  double *result = allocate(sizeof(double) * rows * columns * 3);
  memset(result, 0, sizeof(double) * rows * columns * 3);
  for (int y = 0; y < rows * box; y++) {
    const uint8_t *line = p->pixels + ((size_t)(low[1] * box + y) * p->width + (size_t)low[0] * box) * 3;
    double *to = result + (size_t)(y / box) * columns * 3;
    for (int column = 0; column < columns; column++, to += 3)
      for (int x = 0; x < box; x++, line += 3)
        for (int colour = 0; colour < 3; colour++) to[colour] += line[colour];
  }
  for (size_t n = 0; n < (size_t)rows * columns * 3; n++) result[n] /= (double)box * box;
  return result;
}

/* The boxes that the corners of the cut span: the map is affine, so that nothing lies outside them. */
static void bounds(const Map *back, int size, int box, const int last[2], int low[2], int high[2]) {
  low[0] = last[0], low[1] = last[1], high[0] = high[1] = 0;
  for (int corner = 0; corner < 4; corner++) {
    double at[2];
    place(back, (corner & 1) * (size - 1), (corner >> 1) * (size - 1), box, last, at);
    for (int axis = 0; axis < 2; axis++) {
      int first = (int)floor(at[axis]), next = first < last[axis] ? first + 1 : last[axis];
      if (first < low[axis]) low[axis] = first;
      if (next > high[axis]) high[axis] = next;
    }
  }
}

static double mix(double a, double b, double share) { return a + (b - a) * share; }

static void warp(const Picture *p, Map map, int size, uint8_t *cut) {
  double scale = 1 / sqrt(fabs(map.a * map.e - map.b * map.d)) + BIT;
  int box = (int)clip(scale, p->width < p->height ? p->width : p->height), low[2], high[2];
  if (box < 1) box = 1;
  int last[2] = {p->width / box - 1, p->height / box - 1};
  Map back = inverse(map);
  bounds(&back, size, box, last, low, high);
  double *reduced = reduce(p, low, high, box);
  size_t columns = (size_t)(high[0] - low[0] + 1);
  for (int v = 0; v < size; v++)
    for (int u = 0; u < size; u++) {
      double at[2];
      place(&back, u, v, box, last, at);
      int x = (int)floor(at[0]), y = (int)floor(at[1]);
      size_t left = (size_t)(x - low[0]) * 3, right = (size_t)((x < last[0] ? x + 1 : x) - low[0]) * 3;
      const double *upper = reduced + (size_t)(y - low[1]) * columns * 3;
      const double *lower = reduced + (size_t)((y < last[1] ? y + 1 : y) - low[1]) * columns * 3;
      for (int colour = 0; colour < 3; colour++) {
        double top = mix(upper[left + colour], upper[right + colour], at[0] - x);
        double bottom = mix(lower[left + colour], lower[right + colour], at[0] - x);
        *cut++ = (uint8_t)floor(mix(top, bottom, at[1] - y) + HALF);
      }
    }
  free(reduced);
}

/* Intersection over union of two boxes. */
static double overlap(const Candidate *one, const Candidate *other) {
  double shared = 1;
  const double *a = one->values + 1, *b = other->values + 1;
  for (int axis = 0; axis < 2; axis++) {
    double low = fmax(a[axis] - a[axis + 2] / 2, b[axis] - b[axis + 2] / 2);
    double high = fmin(a[axis] + a[axis + 2] / 2, b[axis] + b[axis + 2] / 2);
    shared *= fmax(high - low, 0);
  }
  return shared / (a[2] * a[3] + b[2] * b[3] - shared);
}

/* Blend overlapping candidates, the best first, each weighing by its score; returns how many are left. */
static size_t merge(Candidate *c, size_t count, double limit) {
  size_t faces = 0;
  while (faces < count) {
    size_t best = faces, rest = faces + 1;
    for (size_t n = faces; n < count; n++)
      if (c[n].values[0] > c[best].values[0]) best = n;
    Candidate face = c[best], blend = {{0}};
    double weights = 0;
    /* Those that overlap are used up, the others move up behind the blend. */
    for (size_t n = faces; n < count; n++) {
      Candidate other = c[n];
      if (n != best && !(overlap(&face, &other) > limit)) continue;
      weights += other.values[0];
      for (int k = 0; k < CANDIDATE; k++) blend.values[k] += other.values[0] * other.values[k];
      c[n].values[0] = -1;
    }
    blend.values[0] /= weights;
    for (int k = 1; k < CANDIDATE; k++) blend.values[k] = floor(blend.values[k] / weights * STEPS + 0.5) / STEPS;
    Candidate *kept = allocate(sizeof *c * (count - faces));
    size_t left = 0;
    for (size_t n = faces; n < count; n++)
      if (c[n].values[0] >= 0) kept[left++] = c[n];
    memcpy(c + rest, kept, sizeof *c * left);
    free(kept);
    c[faces++] = blend;
    count = faces + left;
  }
  return faces;
}

static double area(const Candidate *face) { return face->values[3] * face->values[4]; }

/* Turn a square picture, [size, size, 3], counter-clockwise by a quarter. */
static void turn_picture(uint8_t *picture, int size) {
  size_t bytes = (size_t)size * size * 3;
  uint8_t *before = allocate(bytes);
  memcpy(before, picture, bytes);
  for (int row = 0; row < size; row++)
    for (int column = 0; column < size; column++)
      memcpy(picture + 3 * (row * size + column), before + 3 * (column * size + size - 1 - row), 3);
  free(before);
}

/* Take a candidate in shares of a square that was turned counter-clockwise by quarters back to the square. */
static void turn_back(double *values, int turn) {
  for (; turn > 0; turn--)
    for (int k = 1; k < CANDIDATE; k += 2) {
      double x = values[k];
      values[k] = k == 3 ? values[k + 1] : 1 - values[k + 1]; /* width and height only change places */
      values[k + 1] = x;
    }
}

/* Detect inside a square that is turned counter-clockwise by quarters; returns how many faces there are, and the
 * largest one in pixels. */
static size_t detections(const Picture *photograph, Square square, int turn, const Front *front, const Rule *rule,
                   Candidate *largest) {
  double zoom = rule->detector_size / square.side;
  double corner[2] = {square.x - square.side / 2, square.y - square.side / 2};
  Map map = {zoom, 0, (0.5 - corner[0]) * zoom - 0.5, 0, zoom, (0.5 - corner[1]) * zoom - 0.5};
  warp(photograph, map, rule->detector_size, front->picture->values);
  for (int quarter = 0; quarter < turn; quarter++) turn_picture(front->picture->values, rule->detector_size);
  run_graph(front->detector);
  size_t count = front->found->bytes / (CANDIDATE * sizeof(float)), likely = 0;
  const float *raw = (const float *)front->found->values;
  Candidate *found = allocate(sizeof *found * (count + 1));
  for (size_t n = 0; n < count; n++) {
    const float *from = raw + n * CANDIDATE;
    if (!(from[0] >= rule->score)) continue;
    Candidate *to = &found[likely++];
    for (int k = 0; k < CANDIDATE; k++) to->values[k] = from[k];
    turn_back(to->values, turn);
    for (int k = 1; k < CANDIDATE; k++) {
      int is_size = k == 3 || k == 4;
      to->values[k] = to->values[k] * square.side + (is_size ? 0 : corner[(k + 1) % 2] - 0.5);
    }
  }
  size_t faces = merge(found, likely, rule->overlap);
  for (size_t n = 0; n < faces; n++)
    if (n == 0 || area(&found[n]) > area(largest)) *largest = found[n];
  free(found);
  return faces;
}

/* The turn, scale and shift that takes the keypoints to the template best. */
static Map similarity(const double *points, const double template_[POINTS][2]) {
  double mean[2] = {0}, goal[2] = {0}, along = 0, across = 0, size = 0;
  for (int n = 0; n < POINTS; n++)
    for (int axis = 0; axis < 2; axis++) {
      mean[axis] += points[2 * n + axis] / POINTS;
      goal[axis] += template_[n][axis] / POINTS;
    }
  for (int n = 0; n < POINTS; n++) {
    double x = points[2 * n] - mean[0], y = points[2 * n + 1] - mean[1];
    double u = template_[n][0] - goal[0], v = template_[n][1] - goal[1];
    along += x * u + y * v;
    across += x * v - y * u;
    size += x * x + y * y;
  }
  double a = along / size, b = across / size;
  return (Map){a, -b, goal[0] - a * mean[0] + b * mean[1], b, a, goal[1] - b * mean[0] - a * mean[1]};
}

void check_front(const Front *front, const Rule *rule) {
  size_t seen = (size_t)rule->detector_size * rule->detector_size * 3, cut = (size_t)rule->size * rule->size * 3;
  if (front->picture->bytes != seen || front->face->bytes != cut || front->found->bytes % (CANDIDATE * sizeof(float)))
    die("the front's tensors are not of the sizes of its rule; export the bundle again");
}

/* What two detections saw of the largest face. */
typedef struct {
  size_t faces;
  double score, side;
  Candidate closest;
} Sighting;

/* Detect twice in a photograph that is turned by so many quarters. */
static Sighting sight(const Picture *p, int turn, const Front *front, const Rule *rule) {
  Sighting seen = {0};
  Candidate face, closer;
  Square whole = {p->width / 2.0, p->height / 2.0, p->width > p->height ? p->width : p->height};
  seen.faces = detections(p, whole, turn, front, rule, &face);
  if (!seen.faces) return seen;
  seen.side = fmax(face.values[3], face.values[4]);
  Square about = {face.values[1] + 0.5, face.values[2] + 0.5, rule->second_look * seen.side};
  int again = detections(p, about, turn, front, rule, &closer) > 0;
  seen.closest = again ? closer : face;
  seen.score = again ? closer.values[0] : 0;
  return seen;
}

void align(const Picture *p, const Front *front, const Rule *rule) {
  static const int turns[] = {2, 1, 3};
  Sighting best = sight(p, 0, front, rule);
  if (rule->sure > 0 && (!best.faces || best.score < rule->sure))
    for (size_t n = 0; n < sizeof turns / sizeof *turns; n++) {
      Sighting other = sight(p, turns[n], front, rule);
      if (other.faces && (!best.faces || other.score > best.score)) best = other;
    }
  if (!best.faces) die("no face found; give a photograph with one upright, frontal face");
  if (best.side < rule->smallest) die("the largest face is %.0f pixels wide, %.0f are needed", best.side, rule->smallest);
  warp(p, similarity(best.closest.values + 5, rule->template_), rule->size, front->face->values);
}
