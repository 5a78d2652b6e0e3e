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
 * and from the bytes of the inputs to all outputs.
 */
@RunWith(AndroidJUnit4::class)
class BenchTest {
    private val spec = Spec(InstrumentationRegistry.getInstrumentation().context.assets)

    @Test
    fun everyVariantOnEveryUnit() {
        val wrong = mutableListOf<String>()
        for (variant in spec.variants) {
            for (unit in ComputeUnit.values()) wrong += measure(variant, unit)
        }
        assertTrue(wrong.joinToString("; "), wrong.isEmpty())
    }

    /** Measure, report, and say which tensors are off by more than their gate. */
    private fun measure(variant: Variant, unit: ComputeUnit): List<String> {
        val record = about(variant, unit)
        if (!unit.isAvailable()) return report(record.put("refused", "not known to work on this phone"))
        val models = spec.models(variant)
        val start = SystemClock.elapsedRealtimeNanos()
        val pipeline =
            try {
                Pipeline(models, unit)
            } catch (error: IllegalArgumentException) {
                // A GPU may refuse a graph; a processor must not.
                if (unit == ComputeUnit.CPU) throw error
                return report(record.put("refused", error.toString()))
            }
        record.put("load_ms", since(start))
        return pipeline.use {
            time(it, record)
            record.put("peak_memory_bytes", peakMemory())
            compare(it, variant, record).also { report(record) }
        }
    }

    private fun time(pipeline: Pipeline, record: JSONObject) {
        val inputs = spec.inputs(spec.goldens.first())
        val runs = List(1 + spec.warmup + spec.runs) { timedRun(pipeline, inputs) }
        val measured = runs.drop(1 + spec.warmup)
        val models = JSONObject()
        for ((place, graph) in pipeline.graphs.withIndex()) {
            models.put(graph.model.name, JSONArray(measured.map { it[place] }))
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
            pipeline.graphs.map {
                val start = SystemClock.elapsedRealtimeNanos()
                known += it.run(known)
                since(start)
            }
        return times + since(begin)
    }

    /** Compare with the float pipeline: the largest difference of each output; some have a gate. */
    private fun compare(pipeline: Pipeline, variant: Variant, record: JSONObject): List<String> {
        val wrong = mutableListOf<String>()
        val scores = JSONArray()
        for (golden in spec.goldens) {
            val found = pipeline.run(spec.inputs(golden))
            val differences = JSONObject()
            for (name in spec.outputs.keys) {
                val largest = difference(spec.expected(golden, name), spec.numbers(name, found.getValue(name)))
                differences.put(name, number(largest))
                val limit = variant.limits[name] ?: continue
                // What is not a number is never within the gate.
                if (!(largest <= limit)) {
                    wrong += "${variant.name} on ${record.get("unit")}, ${golden.name}: $name is off by $largest"
                }
            }
            scores.put(JSONObject().put("golden", golden.name).put("differences", differences))
        }
        record.put("scores", scores)
        return wrong
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
