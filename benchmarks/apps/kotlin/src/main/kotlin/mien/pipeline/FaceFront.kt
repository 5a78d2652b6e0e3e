package mien.pipeline

import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import org.json.JSONObject

/** A photograph shows no face that can be rated; the message says what to do. */
class FaceException(message: String) : Exception(message)

/** How a face is found and framed: the rule of a front of the kind `face-alignment`. */
internal class AlignmentRule(json: JSONObject) {
    val size = json.getInt("size")
    val detectorSize = json.getInt("detector_size")
    val score = json.getDouble("score")
    val overlap = json.getDouble("overlap")
    val secondLook = json.getDouble("second_look")
    val smallest = json.getDouble("smallest")
    val sure = json.optDouble("sure", 0.0)

    /** Where right eye, left eye, nose tip and mouth go, (x, y) by turns. */
    val template =
        json.getJSONArray("template").let { points ->
            DoubleArray(2 * points.length()) { points.getJSONArray(it / 2).getDouble(it % 2) }
        }
}

/**
 * A face that was found.
 *
 * @param pixels the aligned face
 * @param faces how many the first detection saw
 * @param score 0..1, of the second detection; 0 where it saw none
 */
class AlignedFace internal constructor(
    val pixels: Photograph,
    internal val matrix: Affine,
    val faces: Int,
    val score: Double,
    internal val keypoints: DoubleArray,
)

/** A square of a photograph, by its centre and side; whole numbers are edges of pixels. */
internal class Square(x: Double, y: Double, val side: Double) {
    val left = x - side / 2
    val top = y - side / 2

    /** Takes pixels of the photograph to those of a picture of size x size. */
    fun matrix(size: Int): Affine {
        val zoom = size / side
        return Affine(zoom, 0.0, (0.5 - left) * zoom - 0.5, 0.0, zoom, (0.5 - top) * zoom - 0.5)
    }
}

/** A candidate of the detector: score, box (centre x, y, width, height), six keypoints (x, y). */
internal class Candidate(val values: DoubleArray) {
    val score get() = values[0]
    val x get() = values[1]
    val y get() = values[2]
    val width get() = values[3]
    val height get() = values[4]
    val area get() = width * height
    val side get() = max(width, height)
    val keypoints get() = values.copyOfRange(5, values.size)

    /** Take shares of a square that was turned counter-clockwise by a quarter back to the square. */
    fun turnedBack(): Candidate {
        val turned = values.copyOf()
        for (place in 1 until values.size step 2) {
            turned[place] = if (place == WIDTH) height else 1 - values[place + 1]
            turned[place + 1] = values[place]
        }
        return Candidate(turned)
    }

    /** Take shares of a square to pixels of the photograph. */
    fun inPhotograph(square: Square): Candidate {
        val places = DoubleArray(values.size) { if (it == 0) score else values[it] * square.side }
        for (place in 1 until values.size step 2) {
            if (place == WIDTH) continue
            places[place] += square.left - 0.5
            places[place + 1] += square.top - 0.5
        }
        return Candidate(places)
    }

    /** Round places half up to eighths of a pixel: last bits of a detector shall not move a face. */
    fun snapped() = Candidate(DoubleArray(values.size) { if (it == 0) score else floor(values[it] / SNAP + 0.5) * SNAP })

    /** Intersection over union of the boxes. */
    fun overlap(other: Candidate): Double {
        val across = shared(x, width, other.x, other.width)
        val shared = across * shared(y, height, other.y, other.height)
        return shared / (area + other.area - shared)
    }

    private fun shared(place: Double, length: Double, other: Double, otherLength: Double) =
        max(min(place + length / 2, other + otherLength / 2) - max(place - length / 2, other - otherLength / 2), 0.0)

    companion object {
        const val NUMBERS = 17
        const val SNAP = 0.125
        private const val WIDTH = 3

        /** Blend candidates that overlap by more than `limit`, the best first, each weighing by its score. */
        fun merge(candidates: List<Candidate>, limit: Double): List<Candidate> {
            val faces = mutableListOf<Candidate>()
            var left = candidates
            while (left.isNotEmpty()) {
                val best = left.maxBy { it.score }
                val (same, others) = left.partition { it === best || best.overlap(it) > limit }
                val weight = same.sumOf { it.score }
                faces += Candidate(DoubleArray(NUMBERS) { place -> same.sumOf { it.score * it.values[place] } / weight })
                left = others
            }
            return faces
        }
    }
}

/** The turn, scale and shift that takes points (x, y by turns) to a template best, by least squares. */
internal fun similarity(points: DoubleArray, template: DoubleArray): Affine {
    val count = template.size / 2
    fun mean(of: DoubleArray, axis: Int) = (0 until count).sumOf { of[2 * it + axis] } / count
    val (meanX, meanY) = mean(points, 0) to mean(points, 1)
    val (goalX, goalY) = mean(template, 0) to mean(template, 1)
    var along = 0.0
    var across = 0.0
    var size = 0.0
    for (point in 0 until count) {
        val x = points[2 * point] - meanX
        val y = points[2 * point + 1] - meanY
        val u = template[2 * point] - goalX
        val v = template[2 * point + 1] - goalY
        along += x * u + y * v
        across += x * v - y * u
        size += x * x + y * y
    }
    val a = along / size
    val b = across / size
    return Affine(a, -b, goalX - a * meanX + b * meanY, b, a, goalY - b * meanX - a * meanY)
}

/**
 * Finds the largest face of a photograph and frames it.
 *
 * @param detect maps a picture of detector_size pixels a side to candidates, 17 numbers each, in shares of the picture
 */
internal class FaceFront(private val rule: AlignmentRule, private val detect: (Photograph) -> DoubleArray) {
    /** What two detections saw of the largest face. */
    private class Sighting(val face: Candidate, val closer: Candidate?, val faces: Int) {
        val score = closer?.score ?: 0.0
    }

    /**
     * Find and frame the largest face. The detector runs twice, and on the turned photograph where it is not sure.
     *
     * @throws FaceException there is none, or it is smaller than the rule allows
     */
    fun align(photograph: Photograph): AlignedFace {
        var best = sight(photograph, 0)
        if (rule.sure > 0 && (best == null || best.score < rule.sure)) {
            best = (listOf(best) + TURNS.map { sight(photograph, it) }).filterNotNull().maxByOrNull { it.score }
        }
        if (best == null) throw FaceException("no face found; give a photograph with one upright, frontal face")
        if (best.face.side < rule.smallest) {
            throw FaceException("the largest face is ${best.face.side} pixels wide, ${rule.smallest} are needed; come closer")
        }
        val keypoints = (best.closer ?: best.face).keypoints
        val matrix = similarity(keypoints, rule.template)
        if (!(matrix.determinant > SINGULAR)) throw FaceException("the features of the face fall together; come closer")
        return AlignedFace(photograph.cut(matrix, rule.size), matrix, best.faces, best.score, keypoints)
    }

    private fun sight(photograph: Photograph, turn: Int): Sighting? {
        val (width, height) = photograph.width.toDouble() to photograph.height.toDouble()
        val found = detections(photograph, Square(width / 2, height / 2, max(width, height)), turn)
        if (found.isEmpty()) return null
        val face = found.maxBy { it.area }
        val about = Square(face.x + 0.5, face.y + 0.5, rule.secondLook * face.side)
        return Sighting(face, detections(photograph, about, turn).maxByOrNull { it.area }, found.size)
    }

    /** Detect faces in a square that is turned counter-clockwise by quarters; in pixels of the photograph. */
    private fun detections(photograph: Photograph, square: Square, turn: Int): List<Candidate> {
        var picture = photograph.cut(square.matrix(rule.detectorSize), rule.detectorSize)
        repeat(turn) { picture = picture.turned() }
        val numbers = detect(picture)
        val likely = mutableListOf<Candidate>()
        for (start in numbers.indices step Candidate.NUMBERS) {
            if (!(numbers[start] >= rule.score)) continue
            var candidate = Candidate(numbers.copyOfRange(start, start + Candidate.NUMBERS))
            repeat(turn) { candidate = candidate.turnedBack() }
            likely += candidate.inPhotograph(square)
        }
        return Candidate.merge(likely, rule.overlap).map { it.snapped() }
    }

    private companion object {
        val TURNS = listOf(2, 1, 3)

        /** A transform that shrinks areas more than this cannot be turned round. */
        const val SINGULAR = 1e-12
    }
}
