import CoreGraphics
import CoreML
import Foundation
import ImageIO

/// The choices of compute units that are measured, by their names in reports.
public let computeUnits: [(name: String, units: MLComputeUnits)] = [
    ("cpuOnly", .cpuOnly), ("cpuAndGPU", .cpuAndGPU), ("cpuAndNeuralEngine", .cpuAndNeuralEngine), ("all", .all),
]

/// Measures one variant; compiles its models once.
public final class Bench {
    private let spec: Spec
    private let bundle: PipelineBundle
    private let variant: Manifest.Variant
    private let compiled: [String: URL]
    private let served: [String]

    public init(_ spec: Spec, _ bundle: PipelineBundle, _ measured: Measured) async throws {
        variant = try bundle.variant(measured.name)
        var models = [String: URL]()
        for model in bundle.models {
            models[model.name] = try await MLModel.compileModel(at: bundle.package(model.name, of: variant))
        }
        self.spec = spec
        self.bundle = bundle
        compiled = models
        served = bundle.served.map { $0.name }
    }

    /// Measure on a choice of compute units; `output` is where tensors are kept, if anywhere.
    public func measure(_ name: String, _ units: MLComputeUnits, output: URL?) throws -> Record {
        let before = conditions("before")
        let (pipeline, load) = try timed { try Pipeline(bundle, variant, compiled: compiled, units: units) }
        let golden = try tensors(spec.goldens[0])
        let (_, first) = try timed { try oneRun(pipeline, golden) }
        let runs = try chain(pipeline, golden)
        return Record(
            id: spec.id, variant: variant.name, units: name, device: .current, load_ms: load, first_ms: first,
            inputs_ms: runs.map { $0.inputs },
            models_ms: Dictionary(
                uniqueKeysWithValues: served.enumerated().map { place, model in
                    (model, runs.map { $0.models[place] })
                }),
            runs_ms: runs.map { $0.all }, graphs: try graphs(pipeline, golden),
            peak_memory_bytes: peakMemory(), notes: before + conditions("after"),
            scores: try spec.goldens.flatMap {
                try scores(pipeline, $0, output?.appendingPathComponent("\(variant.name)/\(name)"))
            }, photographs: try spec.goldens.map { try rated(pipeline, $0) })
    }

    /// The times of one run.
    private struct Times {
        let inputs: Double
        let models: [Double]
        let all: Double
    }

    /// Go from the inputs' bytes to all outputs: features, then every model that an app runs.
    private func oneRun(_ pipeline: Pipeline, _ known: [String: Value]) throws -> Times {
        let ((inputs, models), all) = try timed { () throws -> (Double, [Double]) in
            let (made, inputs) = try timed { try features(bundle.inputs, known) }
            var found = made
            var models = [Double]()
            for name in served {
                let (outputs, spent) = try timed { try pipeline.graph(name).predict(found) }
                found.merge(outputs) { $1 }
                models.append(spent)
            }
            return (inputs, models)
        }
        return Times(inputs: inputs, models: models, all: all)
    }

    /// Time the way that an app goes, after runs to warm up.
    private func chain(_ pipeline: Pipeline, _ known: [String: Value]) throws -> [Times] {
        for _ in 0..<spec.warmup { _ = try oneRun(pipeline, known) }
        return try (0..<spec.runs).map { _ in try oneRun(pipeline, known) }
    }

    /// Time every graph that an app does not run behind the front alone, fed by float tensors.
    private func graphs(_ pipeline: Pipeline, _ known: [String: Value]) throws -> [String: [Double]] {
        var times = [String: [Double]]()
        for model in bundle.models where !served.contains(model.name) {
            let (name, graph) = (model.name, try pipeline.graph(model.name))
            let inputs = try features(model.inputs, known)
            for _ in 0..<spec.warmup { _ = try graph.predict(inputs) }
            times[name] = try (0..<spec.runs).map { _ in try timed { try graph.predict(inputs) }.1 }
        }
        return times
    }

    /// Compare outputs with the float pipeline's: of what an app runs, and of the stages from each one on.
    private func scores(_ pipeline: Pipeline, _ golden: Golden, _ output: URL?) throws -> [ScoreError] {
        let known = try tensors(golden)
        let inputs = try features(Array(known.keys), known)
        if let output = output {
            for (name, graph) in pipeline.graphs {
                let found = try graph.read(try graph.predict(inputs))
                try save(found, output.appendingPathComponent("\(golden.name)/\(name)"))
            }
        }
        var found = [ScoreError]()
        let stages = bundle.manifest.stages
        if let whole = bundle.manifest.whole {
            let outputs = try pipeline.run([whole], inputs)
            found.append(try ScoreError(golden: golden, from: whole.name, expected: known, found: outputs))
        }
        for (place, stage) in stages.enumerated() {
            let outputs = try pipeline.run(stages[place...], inputs)
            found.append(try ScoreError(golden: golden, from: stage.name, expected: known, found: outputs))
        }
        return found
    }

    /// Go to the outputs as an app does, from a photograph or, where there is none, from tensors; and compare these with
    /// the float pipeline's.
    private func rated(_ pipeline: Pipeline, _ golden: Golden) throws -> PhotographError {
        let known = try tensors(golden)
        var prepared = Prepared(inputs: known.filter { bundle.inputs.contains($0.key) }, face: nil, findings: [])
        if let file = golden.photograph {
            prepared = try pipeline.prepare(try Photograph(image(bundle.folder.appendingPathComponent(file))))
        }
        let rating = try pipeline.rate(prepared.inputs)
        let full = rating.skipped.isEmpty ? rating : try pipeline.rateInFull(prepared.inputs)
        let made = prepared.inputs.merging(rating.outputs) { $1 }
        return PhotographError(
            golden: golden.name, differences: try largestDifferences(golden, expected: known, found: made),
            skipped: rating.skipped,
            changed: rating.outputs.keys.filter { rating.outputs[$0]!.data != full.outputs[$0]?.data }.sorted(),
            findings: Dictionary(
                uniqueKeysWithValues: prepared.findings.map { ($0.measure, $0.value.isFinite ? $0.value : nil) }))
    }

    /// Read all float tensors of a golden input.
    private func tensors(_ golden: Golden) throws -> [String: Value] {
        var found = [String: Value]()
        for name in bundle.models.flatMap({ $0.inputs + $0.outputs }) where found[name] == nil {
            guard let path = golden.vectors[name] else {
                throw PipelineError("\(golden.name) has no tensor \(name)")
            }
            found[name] = try Value.read(bundle.folder.appendingPathComponent(path), bundle.tensor(name))
        }
        return found
    }

    /// Make what models take of known tensors.
    private func features(_ names: [String], _ known: [String: Value]) throws -> [String: MLFeatureValue] {
        var made = [String: MLFeatureValue]()
        for name in names {
            guard let value = known[name] else { throw PipelineError("the tensor \(name) is not known") }
            made[name] = try value.feature()
        }
        return made
    }

    private func save(_ outputs: [String: Value], _ folder: URL) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for (name, value) in outputs {
            try value.data.write(to: folder.appendingPathComponent("\(name).bin"))
        }
    }
}

/// Read a photograph from a file, not turned by its EXIF orientation.
private func image(_ file: URL) throws -> CGImage {
    guard let source = CGImageSourceCreateWithURL(file as CFURL, nil),
        let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
    else { throw PipelineError("\(file.lastPathComponent) is no photograph") }
    return image
}

/// Do a step and tell its time in milliseconds, to the microsecond.
private func timed<Result>(_ step: () throws -> Result) rethrows -> (Result, Double) {
    let start = DispatchTime.now().uptimeNanoseconds
    let result = try step()
    let spent = DispatchTime.now().uptimeNanoseconds - start
    return (result, (Double(spent) / 1e3).rounded() / 1e3)
}
