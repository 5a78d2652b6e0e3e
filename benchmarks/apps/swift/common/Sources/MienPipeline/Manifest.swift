import CryptoKit
import Foundation

/// What a bundle's `manifest.json` says, as far as an app needs it.
public struct Manifest: Decodable {
    public let format: Int
    public let tensors: [Tensor]
    public let front: Front?
    public let stages: [Stage]
    public let whole: Stage?
    public let refusals: Refusals?
    public let variants: [Variant]
    public let files: [String: File]

    /// A tensor: its shape is that of TFLite, its type as numpy names it, `range` its least and greatest value.
    public struct Tensor: Decodable {
        public let name: String
        public let shape: [Int]
        public let dtype: String
        public let layout: String
        public let range: [Double]?
    }

    /// A model by the names of the tensors that it reads and makes.
    public struct Stage: Decodable {
        public let name: String
        public let inputs: [String]
        public let outputs: [String]
        public let skip_when: Skip?
    }

    /// A stage need not run where every value of the tensor `zero` is 0; its outputs are then known.
    public struct Skip: Decodable {
        public let zero: String
        public let outputs: [String: Known]
    }

    /// What an output of a stage is that need not run: a number everywhere, or the values of another tensor.
    public enum Known: Decodable {
        case number(Double)
        case copy(String)

        public init(from decoder: Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let name = try? container.decode(String.self) {
                self = .copy(name)
            } else {
                self = .number(try container.decode(Double.self))
            }
        }
    }

    /// What makes inputs of a photograph: its kind, its models and its rule.
    public struct Front: Decodable {
        public let outputs: [String]
        public let models: [Stage]
        public let rule: Rule

        public enum Rule {
            case faceAlignment(AlignmentRule)
            case resize(ResizeRule)
        }

        private enum Keys: String, CodingKey { case kind, outputs, models, rule }

        public init(from decoder: Decoder) throws {
            let container = try decoder.container(keyedBy: Keys.self)
            outputs = try container.decode([String].self, forKey: .outputs)
            models = try container.decode([Stage].self, forKey: .models)
            switch try container.decode(String.self, forKey: .kind) {
            case "face-alignment": rule = .faceAlignment(try container.decode(AlignmentRule.self, forKey: .rule))
            case "resize": rule = .resize(try container.decode(ResizeRule.self, forKey: .rule))
            case let kind: throw PipelineError("the front \(kind) is not known here")
            }
        }
    }

    /// One precision of all models, with the path of each in the bundle; `early_exit` is there where stages may be
    /// left out.
    public struct Variant: Decodable {
        public let name: String
        public let files: [String: String]
        public let early_exit: Shown?

        public struct Shown: Decodable {
            public let inputs: Int
            public let left: Int
        }
    }

    public struct File: Decodable {
        public let bytes: Int
        public let sha256: String
    }
}

/// A bundle: a folder with a manifest.
public struct PipelineBundle {
    public let folder: URL
    public let manifest: Manifest
    /// The models that an app runs from the inputs to the result: the end-to-end one, or the stages.
    public let served: [Manifest.Stage]
    /// The tensors that no stage makes.
    public let inputs: [String]
    private let tensors: [String: Manifest.Tensor]

    /// Read the manifest; throws where it is of another format, lacks what is read here, or has a key that is not known.
    public init(_ folder: URL) throws {
        struct Format: Decodable { let format: Int }
        let data = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
        let format = try JSONDecoder().decode(Format.self, from: data).format
        guard format == 2 else { throw PipelineError("manifest.json has format \(format), expected 2; export again") }
        let found = try JSONSerialization.jsonObject(with: data) as? [String: Any] ?? [:]
        try refuseUnknownKeys(found)
        let front = found["front"] as? [String: Any]
        try refuseUnknownKeys(front?["rule"], front?["kind"] as? String ?? "")
        manifest = try JSONDecoder().decode(Manifest.self, from: data)
        self.folder = folder
        served = manifest.whole.map { [$0] } ?? manifest.stages
        let made = Set(manifest.stages.flatMap { $0.outputs })
        var read = [String]()
        for name in manifest.stages.flatMap({ $0.inputs }) where !made.contains(name) && !read.contains(name) {
            read.append(name)
        }
        inputs = read
        tensors = Dictionary(manifest.tensors.map { ($0.name, $0) }) { first, _ in first }
    }

    /// All models: the front's, the stages, and the end-to-end one.
    public var models: [Manifest.Stage] {
        (manifest.front?.models ?? []) + manifest.stages + (manifest.whole.map { [$0] } ?? [])
    }

    public func variant(_ name: String) throws -> Manifest.Variant {
        guard let found = manifest.variants.first(where: { $0.name == name }) else {
            throw PipelineError("there is no variant \(name)")
        }
        return found
    }

    public func tensor(_ name: String) throws -> TensorSpec {
        guard let tensor = tensors[name] else { throw PipelineError("there is no tensor \(name)") }
        return try TensorSpec(tensor)
    }

    /// The tensors of a model, as its package has them.
    public func graph(_ model: Manifest.Stage) throws -> GraphSpec {
        GraphSpec(
            name: model.name, inputs: try model.inputs.map(tensor), outputs: try model.outputs.map(tensor))
    }

    /// Find a model's package; throws where one of its files is not the one that was exported.
    public func package(_ model: String, of variant: Manifest.Variant) throws -> URL {
        guard let path = variant.files[model] else { throw PipelineError("\(variant.name) has no model \(model)") }
        let parts = manifest.files.filter { $0.key.hasPrefix(path + "/") }
        guard !parts.isEmpty else { throw PipelineError("\(path) is not in the bundle") }
        for (name, file) in parts {
            guard !name.hasPrefix("/"), !name.split(separator: "/").contains("..") else {
                throw PipelineError("\(name) leaves the bundle")
            }
            let data = try Data(contentsOf: folder.appendingPathComponent(name))
            let hash = SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined()
            guard data.count == file.bytes, hash == file.sha256 else {
                throw PipelineError("\(name) is not the file that was exported; copy the bundle again")
            }
        }
        return folder.appendingPathComponent(path)
    }
}

/// Inputs and outputs of a graph.
public struct GraphSpec {
    public let name: String
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
}

/// A tensor as the Core ML package has it: bytes of a picture [height, width, 1 or 3], or numbers, maps channels second.
public struct TensorSpec {
    public let name: String
    public let shape: [Int]
    public let kind: Kind
    public let range: ClosedRange<Double>?

    public enum Kind: String {
        case image, float32, int32
    }

    init(_ tensor: Manifest.Tensor) throws {
        let shape = tensor.shape, map = tensor.layout == "NHWC"
        if map && tensor.dtype == "uint8" {
            (self.shape, kind) = (Array(shape.dropFirst()), .image)
        } else if let kind = Kind(rawValue: tensor.dtype), kind != .image {
            (self.shape, self.kind) = (map ? [shape[0], shape[3], shape[1], shape[2]] : shape, kind)
        } else {
            throw PipelineError("\(tensor.name) is \(tensor.dtype), which Core ML does not take")
        }
        name = tensor.name
        range = tensor.range.map { $0[0]...$0[1] }
    }

    public var count: Int { shape.reduce(1, *) }

    /// Throws where a value is not finite or outside of the range.
    func check(_ value: Value) throws {
        for number in value.numbers where !number.isFinite || !(range?.contains(number) ?? true) {
            throw PipelineError("\(name) has the value \(number), outside of its range; export the bundle again")
        }
    }

    /// Make the tensor of numbers, in its order.
    func of(_ numbers: [Double]) throws -> Value {
        guard numbers.count == count else { throw PipelineError("\(name) has \(count) numbers, got \(numbers.count)") }
        switch kind {
        case .float32: return .floats(numbers.map { Float($0) }, shape: shape)
        case .int32: return .integers(numbers.map { Int32($0) }, shape: shape)
        case .image:
            return .pixels(numbers.map { UInt8($0) }, width: shape[1], height: shape[0], channels: shape[2])
        }
    }
}

/// Something that cannot be done with a bundle or a photograph, and why.
public struct PipelineError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}
