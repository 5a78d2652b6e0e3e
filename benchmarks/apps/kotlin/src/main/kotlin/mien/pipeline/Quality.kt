package mien.pipeline

import kotlin.math.abs
import kotlin.math.atan2
import kotlin.math.hypot
import kotlin.math.max
import kotlin.math.pow
import kotlin.math.sqrt
import org.json.JSONObject

/** What a measure of a photograph says of it. */
enum class Verdict {
    OK,
    NOTE,
    REFUSE,
}

/** A measure of a photograph or of its face, held against the pipeline's limits; see docs/refusals.md. */
class Finding(val measure: String, val value: Double, val verdict: Verdict)

/**
 * Tells whether a photograph can be rated, by the `refusals` of a manifest.
 *
 * @param goal where right eye, left eye, nose tip and mouth are in the aligned face, (x, y) by turns
 */
internal class Quality(refusals: JSONObject, private val goal: DoubleArray) {
    private val centre = pair(refusals, "region_centre")
    private val radii = pair(refusals, "region_radii")
    private val exponent = refusals.getDouble("region_exponent")
    private val limits = refusals.getJSONArray("limits").let { list -> List(list.length()) { list.getJSONObject(it) } }
    private val eyesApart = hypot(goal[2] - goal[0], goal[3] - goal[1])

    fun findings(face: AlignedFace, photograph: Photograph): List<Finding> {
        val values = measures(face, photograph)
        return limits.map {
            val name = it.getString("measure")
            val value = values[name] ?: throw BundleException("the measure $name is not known here")
            Finding(name, value, verdict(value, it))
        }
    }

    /** What is not a number is within no limit. */
    private fun verdict(value: Double, limit: JSONObject): Verdict {
        fun within(bound: Double) = if (limit.getString("worse") == "above") value <= bound else value >= bound
        if (!limit.isNull("refuse") && !within(limit.getDouble("refuse"))) return Verdict.REFUSE
        if (!limit.isNull("note") && !within(limit.getDouble("note"))) return Verdict.NOTE
        return Verdict.OK
    }

    private fun measures(face: AlignedFace, photograph: Photograph): Map<String, Double> {
        val found = face.keypoints
        val xs = List(found.size / 2) { face.matrix.x(found[2 * it], found[2 * it + 1]) }
        val ys = List(found.size / 2) { face.matrix.y(found[2 * it], found[2 * it + 1]) }
        val apart = List(goal.size / 2) { hypot(xs[it] - goal[2 * it], ys[it] - goal[2 * it + 1]) }
        val (nose, right, left) = Triple(xs[NOSE], xs[RIGHT_EAR], xs[LEFT_EAR])
        return mapOf(
            "detector_score" to face.score,
            "faces" to face.faces.toDouble(),
            "eye_distance" to hypot(found[2] - found[0], found[3] - found[1]),
            "roll" to Math.toDegrees(abs(atan2(face.matrix.d, face.matrix.a))),
            "turn" to abs((nose - right) - (left - nose)) / max(left - right, 1.0),
            "misfit" to sqrt(apart.sumOf { it * it } / apart.size) / eyesApart,
        ) + light(face, photograph) + shown(face.pixels)
    }

    /** Light and sharpness of the face region. */
    private fun light(face: AlignedFace, photograph: Photograph): Map<String, Double> {
        val pixels = face.pixels
        val region = region(pixels)
        val light = region.map { (column, row) -> pixels.light(column, row) }
        val inner = 1 until pixels.width - 1
        val edges = region.filter { (column, row) -> column in inner && row in inner }.map { (x, y) -> abs(pixels.edge(x, y)) }
        val contrast = deviation(light)
        fun share(of: (Int) -> Boolean) =
            region.count { (x, y) -> (0 until 3).all { of(pixels.colour(x, y, it)) } } / region.size.toDouble()
        return mapOf(
            "outside" to region.count { (x, y) -> beyond(face.matrix.inverse, x, y, photograph) } / region.size.toDouble(),
            // A face of one colour has no edges, but for last bits.
            "sharpness" to if (contrast > FLAT) edges.average() / contrast else 0.0,
            "contrast" to contrast,
            "brightness" to light.average(),
            "black" to share { it <= BLACK },
            "burnt" to share { it >= BURNT },
        )
    }

    /** Whether eyes and mouth are seen; lengths are those of a face of 76 pixels between the eyes. */
    private fun shown(pixels: Photograph): Map<String, Double> {
        val unit = eyesApart / EYES_APART
        fun patch(x: Double, y: Double, right: Int, down: Int, across: Int, tall: Int) =
            patch(pixels, x + right * unit, y + down * unit, across * unit, tall * unit)
        val beneath = listOf(0, 2).maxOf { patch(goal[it], goal[it + 1], 0, 17, 12, 5).average() }
        val cheeks = listOf(0 to -6, 2 to 6).sumOf { (eye, side) -> patch(goal[eye], goal[eye + 1], side, 50, 8, 8).average() }
        val skin = (patch(goal[4], goal[5], 0, -15, 8, 10).average() + cheeks) / 3
        val eyes = deviation(patch((goal[0] + goal[2]) / 2, (goal[1] + goal[3]) / 2, 0, 0, 48, 30))
        val mouth = deviation(patch(goal[6], goal[7], 0, 3, 40, 14))
        return mapOf(
            "eyes_shown" to beneath / max(skin, 1.0),
            "mouth_shown" to if (eyes > FLAT) mouth / eyes else 0.0,
        )
    }

    /** Brightness of the pixels about a place, at least of one. */
    private fun patch(pixels: Photograph, x: Double, y: Double, across: Double, tall: Double): List<Double> {
        val last = (pixels.width - 1).toDouble()
        val (atX, atY) = x.coerceIn(0.0, last) to y.coerceIn(0.0, last)
        val columns = (0 until pixels.width).filter { abs(it - atX) <= max(across, 0.5) + BIT }
        val rows = (0 until pixels.width).filter { abs(it - atY) <= max(tall, 0.5) + BIT }
        return rows.flatMap { row -> columns.map { pixels.light(it, row) } }
    }

    /** The pixels (column, row) of the face region, a superellipse. */
    private fun region(pixels: Photograph): List<Pair<Int, Int>> {
        fun far(place: Int, axis: Int) = (abs(place - centre[axis]) / radii[axis]).pow(exponent)
        val places = (0 until pixels.width).flatMap { row -> (0 until pixels.width).map { it to row } }
        return places.filter { (column, row) -> far(column, 0) + far(row, 1) <= 1 }
    }

    /** Whether a pixel of the aligned face comes from beyond the border of the photograph. */
    private fun beyond(back: Affine, column: Int, row: Int, photograph: Photograph): Boolean {
        val x = back.x(column.toDouble(), row.toDouble())
        val y = back.y(column.toDouble(), row.toDouble())
        return x < -0.5 || y < -0.5 || x > photograph.width - 0.5 || y > photograph.height - 0.5
    }

    private fun Photograph.colour(column: Int, row: Int, number: Int) =
        pixels[3 * (row * width + column) + number].toInt() and 0xff

    /** Brightness by ITU-R BT.601. */
    private fun Photograph.light(column: Int, row: Int) =
        colour(column, row, 0) * 0.299 + colour(column, row, 1) * 0.587 + colour(column, row, 2) * 0.114

    private fun Photograph.edge(x: Int, y: Int) =
        4 * light(x, y) - light(x, y - 1) - light(x, y + 1) - light(x - 1, y) - light(x + 1, y)

    private fun deviation(values: List<Double>): Double {
        val mean = values.average()
        return sqrt(values.sumOf { (it - mean) * (it - mean) } / values.size)
    }

    private fun pair(json: JSONObject, key: String) = json.getJSONArray(key).let { it.getDouble(0) to it.getDouble(1) }.toList()

    private companion object {
        const val FLAT = 1e-6
        const val EYES_APART = 76.0
        const val BLACK = 12
        const val BURNT = 250
        const val NOSE = 2
        const val RIGHT_EAR = 4
        const val LEFT_EAR = 5
    }
}
