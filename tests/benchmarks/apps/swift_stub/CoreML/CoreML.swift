// A stand-in for the part of Core ML that the measuring package uses. A model answers with the golden
// outputs of the golden face whose tensors it is given, and fails for any others, so that a wrong order
// of colours or axes is seen. It computes nothing and is no evidence of what Apple's runtime does.
@_exported import CoreVideo
import Foundation

public enum MLComputeUnits: Int { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all
    public init() {}
}

public enum MLMultiArrayDataType: Int { case float32 = 65568, float16 = 65552, int32 = 131104 }

public final class MLMultiArray {
    public let dataType: MLMultiArrayDataType
    public let shape, strides: [NSNumber]
    public let dataPointer: UnsafeMutableRawPointer
    public var count: Int { shape.reduce(1) { $0 * $1.intValue } }

    public convenience init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        self.init(shape, dataType, padding: 0)
    }

    /// Rows are padded by `padding` numbers, as those of accelerators are.
    init(_ shape: [NSNumber], _ dataType: MLMultiArrayDataType, padding: Int) {
        var strides = [Int](repeating: 1, count: shape.count), size = 1
        for axis in shape.indices.reversed() {
            strides[axis] = size
            size *= shape[axis].intValue
            if axis == shape.count - 1 && shape.count > 1 { size += padding }
        }
        (self.shape, self.dataType) = (shape, dataType)
        self.strides = strides.map { NSNumber(value: $0) }
        dataPointer = .allocate(byteCount: max(size, 1) * 4, alignment: 64)
    }

    deinit { dataPointer.deallocate() }

    public subscript(index: Int) -> NSNumber {
        NSNumber(value: dataPointer.assumingMemoryBound(to: Float.self)[index])
    }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?
    public let imageBufferValue: CVPixelBuffer?
    public init(multiArray: MLMultiArray) { (multiArrayValue, imageBufferValue) = (multiArray, nil) }
    public init(pixelBuffer: CVPixelBuffer) { (multiArrayValue, imageBufferValue) = (nil, pixelBuffer) }

    /// The bytes of a golden file.
    var data: Data {
        if let buffer = imageBufferValue {
            var bytes = Data()
            for row in 0..<buffer.height {
                let line = buffer.base.advanced(by: row * buffer.stride).assumingMemoryBound(to: UInt8.self)
                for column in 0..<buffer.width { bytes.append(contentsOf: [2, 1, 0].map { line[column * 4 + $0] }) }
            }
            return bytes
        }
        return multiArrayValue.map { Data(bytes: $0.dataPointer, count: $0.count * 4) } ?? Data()
    }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for name: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    private let values: [String: MLFeatureValue]
    public init(dictionary: [String: Any]) throws { values = dictionary.compactMapValues { $0 as? MLFeatureValue } }
    public var featureNames: Set<String> { Set(values.keys) }
    public func featureValue(for name: String) -> MLFeatureValue? { values[name] }
}

public struct StandInError: Error, CustomStringConvertible { public let description: String }

public final class MLModel {
    private let name: String
    private let payload: URL

    public static func compileModel(at url: URL) async throws -> URL {
        guard FileManager.default.fileExists(atPath: url.appendingPathComponent("Manifest.json").path) else {
            throw StandInError(description: "\(url.path) is no package")
        }
        return url
    }

    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        name = url.deletingPathExtension().lastPathComponent
        payload = url.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    }

    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider {
        let data = try Data(contentsOf: payload.appendingPathComponent("spec.json"))
        guard let spec = try JSONSerialization.jsonObject(with: data) as? [String: Any],
            let goldens = spec["goldens"] as? [[String: Any]],
            let graph = (spec["graphs"] as? [String: [String: [[String: Any]]]])?[name]
        else { throw StandInError(description: "spec.json is damaged") }
        for case let vectors as [String: String] in goldens.map({ $0["vectors"] as Any }) {
            let equal = try graph["inputs"]!.allSatisfy { tensor in
                let key = tensor["name"] as! String
                return try input.featureValue(for: key)?.data == Data(contentsOf: payload.appendingPathComponent(vectors[key]!))
            }
            if equal { return try answer(graph["outputs"]!, vectors) }
        }
        throw StandInError(description: "no golden face has the inputs that \(name) was given")
    }

    private func answer(_ tensors: [[String: Any]], _ vectors: [String: String]) throws -> MLFeatureProvider {
        var values = [String: MLFeatureValue]()
        for tensor in tensors {
            let key = tensor["name"] as! String
            let shape = tensor["shape"] as! [Int]
            let data = try Data(contentsOf: payload.appendingPathComponent(vectors[key]!))
            let array = MLMultiArray(shape.map { NSNumber(value: $0) }, .float32, padding: 8)
            let width = shape.last ?? 1, stride = shape.count > 1 ? width + 8 : width
            for row in 0..<data.count / 4 / width {
                let line = array.dataPointer.advanced(by: row * stride * 4)
                data.copyBytes(to: line.assumingMemoryBound(to: UInt8.self), from: row * width * 4..<(row + 1) * width * 4)
            }
            values[key] = MLFeatureValue(multiArray: array)
        }
        return try MLDictionaryFeatureProvider(dictionary: values)
    }
}
