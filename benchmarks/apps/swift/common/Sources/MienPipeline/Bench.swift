import CoreML
import Foundation

/// The choices of compute units that are measured, by their names in reports.
public let computeUnits: [(name: String, units: MLComputeUnits)] = [
    ("cpuOnly", .cpuOnly), ("cpuAndGPU", .cpuAndGPU), ("cpuAndNeuralEngine", .cpuAndNeuralEngine), ("all", .all),
]

/// Measures one variant; compiles its models once.
public final class Bench {
    private let spec: Spec
    private let folder: URL
    private let variant: Variant
    private let compiled: [String: URL]

    public init(_ spec: Spec, _ folder: URL, _ variant: Variant) async throws {
        var models = [String: URL]()
        for (name, path) in variant.models {
            models[name] = try await MLModel.compileModel(at: folder.appendingPathComponent(path))
        }
        self.spec = spec
        self.folder = folder
        self.variant = variant
        compiled = models
    }

    /// Measure on a choice of compute units; `output` is where tensors are kept, if anywhere.
    public func measure(_ name: String, _ units: MLComputeUnits, output: URL?) throws -> Record {
        let before = conditions("before")
        let (pipeline, load) = try timed { try Pipeline(spec, compiled: compiled, units: units) }
        let golden = try tensors(spec.goldens[0])
        let (_, first) = try timed { try oneRun(pipeline, golden) }
        let runs = try chain(pipeline, golden)
        return Record(
            id: spec.id, variant: variant.name, units: name, device: .current, load_ms: load, first_ms: first,
            inputs_ms: runs.map { $0.inputs },
            models_ms: Dictionary(
                uniqueKeysWithValues: spec.served.enumerated().map { place, model in
                    (model, runs.map { $0.models[place] })
                }),
            runs_ms: runs.map { $0.all }, graphs: try graphs(pipeline, golden),
            peak_memory_bytes: peakMemory(), notes: before + conditions("after"),
            scores: try spec.goldens.flatMap {
                try scores(pipeline, $0, output?.appendingPathComponent("\(variant.name)/\(name)"))
            })
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
            let (made, inputs) = try timed { try features(spec.inputs, known) }
            var found = made
            var models = [Double]()
            for name in spec.served {
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
        for (name, graph) in pipeline.graphs where !spec.served.contains(name) {
            let inputs = try features(try names(name), known)
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
        if spec.served != spec.stages {
            let outputs = try pipeline.run(inputs)
            found.append(try ScoreError(golden: golden, from: spec.served[0], expected: known, found: outputs))
        }
        for (place, stage) in spec.stages.enumerated() {
            let outputs = try pipeline.run(spec.stages[place...], inputs)
            found.append(try ScoreError(golden: golden, from: stage, expected: known, found: outputs))
        }
        return found
    }

    /// Read all float tensors of a golden input.
    private func tensors(_ golden: Golden) throws -> [String: Value] {
        var found = [String: Value]()
        for tensor in spec.graphs.values.flatMap({ $0.inputs + $0.outputs }) where found[tensor.name] == nil {
            guard let path = golden.vectors[tensor.name] else {
                throw PipelineError("\(golden.name) has no tensor \(tensor.name)")
            }
            found[tensor.name] = try Value.read(folder.appendingPathComponent(path), tensor)
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

    /// Name the tensors that a graph reads.
    private func names(_ graph: String) throws -> [String] {
        guard let found = spec.graphs[graph] else { throw PipelineError("there is no graph \(graph)") }
        return found.inputs.map { $0.name }
    }

    private func save(_ outputs: [String: Value], _ folder: URL) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for (name, value) in outputs {
            try value.data.write(to: folder.appendingPathComponent("\(name).bin"))
        }
    }
}

/// Do a step and tell its time in milliseconds, to the microsecond.
private func timed<Result>(_ step: () throws -> Result) rethrows -> (Result, Double) {
    let start = DispatchTime.now().uptimeNanoseconds
    let result = try step()
    let spent = DispatchTime.now().uptimeNanoseconds - start
    return (result, (Double(spent) / 1e3).rounded() / 1e3)
}
