import CoreML
import Foundation

/// What the front makes of a photograph: the pipeline's inputs by name, the face that was found where the front looks
/// for one, and the measures of it, none where the pipeline refuses nothing.
public struct Prepared {
    public let inputs: [String: Value]
    public let face: AlignedFace?
    public let findings: [Finding]
}

/// What a pipeline makes of its inputs: what the served models make, by name, and the stages that were left out.
public struct Rating {
    public let outputs: [String: Value]
    public let skipped: [String]
}

/// One variant of a bundle: a photograph to the inputs, and these to the result, as the manifest says.
public final class Pipeline {
    /// The loaded models by name.
    public let graphs: [String: Graph]
    private let bundle: PipelineBundle
    private let leavesEarly: Bool

    /// Compile and load the models of a variant that an app runs.
    public convenience init(_ bundle: PipelineBundle, _ variant: Manifest.Variant, units: MLComputeUnits) async throws {
        let early = variant.early_exit == nil ? [] : bundle.manifest.stages.filter { $0.skip_when == nil }
        var compiled = [String: URL]()
        for model in (bundle.manifest.front?.models ?? []) + early + bundle.served {
            compiled[model.name] = try await MLModel.compileModel(at: bundle.package(model.name, of: variant))
        }
        try self.init(bundle, variant, compiled: compiled, units: units)
    }

    /// Load models that were compiled before.
    public init(
        _ bundle: PipelineBundle, _ variant: Manifest.Variant, compiled: [String: URL], units: MLComputeUnits
    ) throws {
        var loaded = [String: Graph]()
        for model in bundle.models {
            guard let place = compiled[model.name] else { continue }
            loaded[model.name] = try Graph(compiled: place, spec: bundle.graph(model), units: units)
        }
        (self.bundle, graphs, leavesEarly) = (bundle, loaded, variant.early_exit != nil)
    }

    /// Find a graph.
    public func graph(_ name: String) throws -> Graph {
        guard let graph = graphs[name] else { throw PipelineError("there is no model \(name)") }
        return graph
    }

    /// Make the inputs of a photograph; throws where the front looks for a face and there is none, or too small a one.
    public func prepare(_ photograph: Photograph) throws -> Prepared {
        guard let front = bundle.manifest.front else {
            throw PipelineError("the pipeline takes tensors and no photograph")
        }
        let input = try bundle.tensor(front.outputs[0])
        switch front.rule {
        case let .resize(rule):
            let value = Value.floats(rule.values(photograph), shape: input.shape)
            return Prepared(inputs: [input.name: value], face: nil, findings: [])
        case let .faceAlignment(rule):
            let face = try FaceFront(rule: rule) { try self.detect(front.models[0], $0) }.align(photograph)
            let findings = try bundle.manifest.refusals.map {
                try Quality(refusals: $0, goal: rule.template).findings(face, photograph)
            }
            return Prepared(inputs: [input.name: Value(face.pixels)], face: face, findings: findings ?? [])
        }
    }

    /// Rate the pipeline's inputs: without the stages that need not run, where the variant allows it.
    public func rate(_ inputs: [String: Value]) throws -> Rating {
        try checked((leavesEarly ? try early(inputs) : nil) ?? full(inputs))
    }

    /// Rate like `rate`, and leave no stage out: the same bits, or the variant is damaged.
    public func rateInFull(_ inputs: [String: Value]) throws -> Rating { try checked(full(inputs)) }

    /// Run graphs in a row, each fed by those before it; returns all that they make.
    public func run(_ models: ArraySlice<Manifest.Stage>, _ known: [String: MLFeatureValue]) throws -> [String: Value] {
        var features = known
        var outputs = [String: Value]()
        for model in models {
            let found = try graph(model.name).predict(features)
            features.merge(found) { $1 }
            outputs.merge(try graph(model.name).read(found)) { $1 }
        }
        return outputs
    }

    private func full(_ inputs: [String: Value]) throws -> Rating {
        Rating(outputs: try run(bundle.served[...], inputs.mapValues { try $0.feature() }), skipped: [])
    }

    private func checked(_ rating: Rating) throws -> Rating {
        for name in bundle.served.flatMap({ $0.outputs }) {
            guard let value = rating.outputs[name] else { throw PipelineError("no model made \(name)") }
            if bundle.served.last!.outputs.contains(name) { try bundle.tensor(name).check(value) }
        }
        return rating
    }

    /// Run the stages; nil where one must run for which there is the end-to-end model.
    private func early(_ inputs: [String: Value]) throws -> Rating? {
        var known = inputs
        var skipped = [String]()
        for stage in bundle.manifest.stages {
            if let made = try outputsWithout(stage, known) {
                skipped.append(stage.name)
                known.merge(made) { $1 }
                continue
            }
            if stage.skip_when != nil && bundle.manifest.whole != nil { return nil }
            var features = [String: MLFeatureValue]()
            for name in stage.inputs { features[name] = try known[name]?.feature() }
            known.merge(try run([stage], features)) { $1 }
        }
        let names = Set(bundle.served.flatMap { $0.outputs })
        return Rating(outputs: known.filter { names.contains($0.key) }, skipped: skipped)
    }

    /// What a stage's outputs are where it need not run, nil where it must. What is not a number is not zero.
    private func outputsWithout(_ stage: Manifest.Stage, _ known: [String: Value]) throws -> [String: Value]? {
        guard let skip = stage.skip_when, let zero = known[skip.zero], zero.numbers.allSatisfy({ $0 == 0 }) else {
            return nil
        }
        var made = [String: Value]()
        for (name, value) in skip.outputs {
            let tensor = try bundle.tensor(name)
            switch value {
            case let .number(number): made[name] = try tensor.of([Double](repeating: number, count: tensor.count))
            case let .copy(source): made[name] = try tensor.of(known[source]?.numbers ?? [])
            }
        }
        return made
    }

    private func detect(_ detector: Manifest.Stage, _ picture: Photograph) throws -> [Double] {
        let found = try run([detector], [detector.inputs[0]: try Value(picture).feature()])
        guard let candidates = found[detector.outputs[0]] else { throw PipelineError("there are no candidates") }
        try bundle.tensor(detector.outputs[0]).check(candidates)
        return candidates.numbers
    }
}

extension Value {
    /// The pixels of a photograph.
    public init(_ photograph: Photograph) {
        self = .pixels(photograph.pixels, width: photograph.width, height: photograph.height, channels: 3)
    }
}
