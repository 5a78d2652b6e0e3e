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
        let (appraiser, load) = try timed { try Appraiser(spec, compiled: compiled, units: units) }
        let golden = try tensors(spec.goldens[0])
        let (_, first) = try timed { try appraiser.rate(golden) }
        return Record(
            id: spec.id, variant: variant.name, units: name, device: .current, load_ms: load, first_ms: first,
            chain: try chain(appraiser, golden), graphs: try graphs(appraiser, golden),
            peak_memory_bytes: peakMemory(), notes: before + conditions("after"),
            scores: try spec.goldens.flatMap {
                try scores(appraiser, $0, output?.appendingPathComponent("\(variant.name)/\(name)"))
            })
    }

    /// Time the way from the inputs' bytes to the rating: pixel buffer, then the end-to-end model.
    private func chain(_ appraiser: Appraiser, _ known: [String: Value]) throws -> [String: [Double]] {
        let graph = try appraiser.graph(spec.whole)
        var times: [String: [Double]] = ["pixels": [], spec.whole: []]
        for run in 0..<spec.warmup + spec.runs {
            let (inputs, pixels) = try timed { try graph.inputs(known) }
            let (_, whole) = try timed {
                try graph.predict(inputs).featureValue(for: spec.rating)?.multiArrayValue?[0].floatValue
            }
            if run >= spec.warmup {
                times["pixels"]?.append(pixels)
                times[spec.whole]?.append(whole)
            }
        }
        return times
    }

    /// Time every graph but the end-to-end one alone, fed by float tensors.
    private func graphs(_ appraiser: Appraiser, _ known: [String: Value]) throws -> [String: [Double]] {
        var times = [String: [Double]]()
        for (name, graph) in appraiser.graphs where name != spec.whole {
            let inputs = try graph.inputs(known)
            for _ in 0..<spec.warmup { _ = try graph.predict(inputs) }
            times[name] = try (0..<spec.runs).map { _ in try timed { try graph.predict(inputs) }.1 }
        }
        return times
    }

    /// Compare ratings with the float pipeline's: of the end-to-end model, and of the stages from each one on.
    private func scores(_ appraiser: Appraiser, _ golden: Golden, _ output: URL?) throws -> [ScoreError] {
        let known = try tensors(golden)
        if let output = output {
            for (name, graph) in appraiser.graphs {
                try save(try graph.run(known), output.appendingPathComponent("\(golden.name)/\(name)"))
            }
        }
        var found = [
            try ScoreError(golden: golden, from: spec.whole, rating: try appraiser.rate(known)[spec.rating])
        ]
        for (place, stage) in spec.stages.enumerated() {
            let finished = try appraiser.finish(from: place, known)
            found.append(try ScoreError(golden: golden, from: stage, rating: finished[spec.rating]))
        }
        return found
    }

    /// Read all float tensors of a golden input.
    private func tensors(_ golden: Golden) throws -> [String: Value] {
        var found = [String: Value]()
        for tensor in spec.graphs.values.flatMap({ $0.inputs }) where found[tensor.name] == nil {
            guard let path = golden.vectors[tensor.name] else {
                throw PipelineError("\(golden.name) has no tensor \(tensor.name)")
            }
            found[tensor.name] = try Value.read(folder.appendingPathComponent(path), tensor)
        }
        return found
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
