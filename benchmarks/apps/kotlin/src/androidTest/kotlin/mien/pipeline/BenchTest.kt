package mien.pipeline

import android.os.Build
import android.os.SystemClock
import android.util.Log
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.io.File
import java.nio.ByteBuffer
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/**
 * Measures every variant on every unit of this phone, and checks what it makes of the golden inputs.
 *
 * Each measurement is one line of the log with the tag MIEN, a JSON object. Times are in milliseconds: of each model,
 * and from the bytes of the inputs to all outputs, with no stage left out.
 */
@RunWith(AndroidJUnit4::class)
class BenchTest {
    private val spec = Spec(InstrumentationRegistry.getInstrumentation().context.assets)

    @Test
    fun everyVariantOnEveryUnit() {
        val wrong = mutableListOf<String>()
        for (measured in spec.measured) {
            for (unit in ComputeUnit.values()) wrong += measure(measured, unit)
        }
        assertTrue(wrong.joinToString("; "), wrong.isEmpty())
    }

    /** Measure, report, and say what is off by more than its gate. */
    private fun measure(measured: Measured, unit: ComputeUnit): List<String> {
        val record = about(measured.variant, unit)
        if (!unit.isAvailable()) return report(record.put("refused", "not known to work on this phone"))
        val start = SystemClock.elapsedRealtimeNanos()
        val pipeline =
            try {
                Pipeline(spec.bundle, measured.variant, unit)
            } catch (error: IllegalArgumentException) {
                // A GPU may refuse a graph; a processor must not.
                if (unit == ComputeUnit.CPU) throw error
                return report(record.put("refused", error.toString()))
            }
        record.put("load_ms", since(start))
        return pipeline.use {
            time(it, record)
            record.put("peak_memory_bytes", peakMemory())
            compare(it, measured, record).also { report(record) }
        }
    }

    private fun time(pipeline: Pipeline, record: JSONObject) {
        val inputs = spec.inputs(spec.goldens.first())
        val runs = List(1 + spec.warmup + spec.runs) { timedRun(pipeline, inputs) }
        val measured = runs.drop(1 + spec.warmup)
        val models = JSONObject()
        for ((place, graph) in pipeline.served.withIndex()) {
            models.put(graph.stage.name, JSONArray(measured.map { it[place] }))
        }
        record
            .put("first_ms", runs.first().last())
            .put("models_ms", models)
            .put("runs_ms", JSONArray(measured.map { it.last() }))
    }

    /** Times of every model in one run, and of the whole run. */
    private fun timedRun(pipeline: Pipeline, inputs: Map<String, ByteBuffer>): List<Double> {
        val known = inputs.toMutableMap()
        val begin = SystemClock.elapsedRealtimeNanos()
        val times =
            pipeline.served.map {
                val start = SystemClock.elapsedRealtimeNanos()
                known += it.run(known)
                since(start)
            }
        return times + since(begin)
    }

    /** Compare with the float pipeline, from the tensors of golden inputs and from their photographs on. */
    private fun compare(pipeline: Pipeline, measured: Measured, record: JSONObject): List<String> {
        val scores = spec.goldens.map { Comparison(pipeline, measured, it, spec.inputs(it), spec.outputs) }
        val photographs =
            spec.goldens.mapNotNull { golden ->
                val file = golden.photograph ?: return@mapNotNull null
                val prepared = pipeline.prepare(spec.photograph(file))
                Comparison(pipeline, measured, golden, prepared.inputs, spec.bundle.inputs + spec.outputs).also {
                    it.record.put("findings", findings(prepared))
                }
            }
        record.put("scores", JSONArray(scores.map { it.record }))
        if (photographs.isNotEmpty()) record.put("photographs", JSONArray(photographs.map { it.record }))
        return (scores + photographs).flatMap { it.wrong }.map { "${record.get("unit")}, $it" }
    }

    private fun findings(prepared: Prepared): JSONObject {
        val found = JSONObject()
        for (finding in prepared.findings) found.put(finding.measure, number(finding.value))
        return found
    }

    /** What a pipeline makes of inputs, beside the float pipeline's tensors of a golden input. */
    private inner class Comparison(
        pipeline: Pipeline,
        measured: Measured,
        golden: Golden,
        inputs: Map<String, ByteBuffer>,
        names: List<String>,
    ) {
        private val rating = pipeline.rate(inputs)
        private val made = names.associateWith { read(rating, it) }
        private val changed = if (rating.skipped.isEmpty()) emptyList() else changed(pipeline.rateInFull(inputs))
        private val differences = made.mapValues { (name, values) -> difference(spec.expected(golden, name), values) }

        val record: JSONObject =
            JSONObject()
                .put("golden", golden.name)
                .put("differences", JSONObject(differences.mapValues { number(it.value) }))
                .put("skipped", JSONArray(rating.skipped))
                .put("changed", JSONArray(changed))

        /** What is off by more than its gate; what is not a number is never within one. */
        val wrong =
            measured.limits
                .filter { (name, limit) -> !(differences.getValue(name) <= limit) }
                .map { (name, _) -> "${measured.variant.name}, ${golden.name}: $name is off by ${differences[name]}" } +
                changed.map { "${measured.variant.name}, ${golden.name}: the early exit changes $it" }

        private fun read(rating: Rating, name: String) = spec.bundle.tensor(name).numbers(rating.tensors.getValue(name))

        /** Name what another rating has other bits of. */
        private fun changed(other: Rating) = made.keys.filter { !made.getValue(it).contentEquals(read(other, it)) }
    }

    /** The largest difference; NaN where one is not a number, which maxOf keeps. */
    private fun difference(expected: DoubleArray, found: DoubleArray): Double {
        require(expected.size == found.size) { "${found.size} values, expected ${expected.size}" }
        return expected.indices.maxOf { abs(expected[it] - found[it]) }
    }

    private fun about(variant: Variant, unit: ComputeUnit) =
        JSONObject()
            .put("id", spec.id)
            .put("variant", variant.name)
            .put("unit", unit.name)
            .put("device", "${Build.MANUFACTURER} ${Build.MODEL}, ${Build.HARDWARE}")
            .put("android", Build.VERSION.SDK_INT)
            .put("abi", Build.SUPPORTED_ABIS.first())
            .put("cores", Runtime.getRuntime().availableProcessors())
            .put("emulator", Build.HARDWARE in EMULATORS)

    private fun report(record: JSONObject): List<String> {
        Log.i("MIEN", record.toString())
        return emptyList()
    }

    /** The most memory that this process has had, for everything that it measured before too. */
    private fun peakMemory(): Long {
        val line = File("/proc/self/status").readLines().first { it.startsWith("VmHWM:") }
        return line.filter { it.isDigit() }.toLong() * 1024
    }

    private fun since(start: Long) = (SystemClock.elapsedRealtimeNanos() - start) / 1e6

    /** JSON has no word for what is no finite number. */
    private fun number(value: Double): Any = if (value.isNaN() || value.isInfinite()) JSONObject.NULL else value

    private companion object {
        /** What Android's emulators, which are no phones, call their hardware. */
        val EMULATORS = listOf("goldfish", "ranchu")
    }
}
