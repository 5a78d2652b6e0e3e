import CoreML
import CoreVideo
import Foundation

/// A tensor: pixels row by row, or numbers, the last axis fastest.
public enum Value {
    case pixels([UInt8], width: Int, height: Int, channels: Int)
    case floats([Float], shape: [Int])
    case integers([Int32], shape: [Int])

    /// Read a golden tensor as `spec` describes it; numbers are little-endian.
    public static func read(_ file: URL, _ spec: TensorSpec) throws -> Value {
        let data = try Data(contentsOf: file)
        let count = spec.shape.reduce(1, *)
        let size = spec.kind == .image ? count : count * MemoryLayout<Float>.size
        guard data.count == size else {
            throw PipelineError("\(file.lastPathComponent) has \(data.count) bytes, expected \(size)")
        }
        switch spec.kind {
        case .image:
            return .pixels([UInt8](data), width: spec.shape[1], height: spec.shape[0], channels: spec.shape[2])
        case .float32:
            var numbers = [Float](repeating: 0, count: count)
            _ = numbers.withUnsafeMutableBytes { data.copyBytes(to: $0) }
            return .floats(numbers, shape: spec.shape)
        case .int32:
            var numbers = [Int32](repeating: 0, count: count)
            _ = numbers.withUnsafeMutableBytes { data.copyBytes(to: $0) }
            return .integers(numbers, shape: spec.shape)
        }
    }

    /// Read what a model gave; accelerators pad rows, so places follow from the strides.
    public init(_ array: MLMultiArray) throws {
        let shape = array.shape.map { $0.intValue }
        let places = offsets(shape, array.strides.map { $0.intValue })
        switch array.dataType {
        case .float32:
            let base = array.dataPointer.assumingMemoryBound(to: Float.self)
            self = .floats(places.map { base[$0] }, shape: shape)
        case .int32:
            let base = array.dataPointer.assumingMemoryBound(to: Int32.self)
            self = .integers(places.map { base[$0] }, shape: shape)
        default:
            throw PipelineError("an output has type \(array.dataType.rawValue), expected float32 or int32")
        }
    }

    /// Make what a model takes.
    public func feature() throws -> MLFeatureValue {
        switch self {
        case let .pixels(bytes, width, height, channels):
            let buffer = try pixelBuffer(bytes, width: width, height: height, channels: channels)
            return MLFeatureValue(pixelBuffer: buffer)
        case let .floats(numbers, shape):
            let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float32)
            let base = array.dataPointer.assumingMemoryBound(to: Float.self)
            for (index, number) in numbers.enumerated() { base[index] = number }
            return MLFeatureValue(multiArray: array)
        case let .integers(numbers, shape):
            let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .int32)
            let base = array.dataPointer.assumingMemoryBound(to: Int32.self)
            for (index, number) in numbers.enumerated() { base[index] = number }
            return MLFeatureValue(multiArray: array)
        }
    }

    /// The numbers in their order; those of a picture channels second, as maps have them.
    public var numbers: [Double] {
        switch self {
        case let .pixels(bytes, width, height, channels):
            let places = width * height
            return (0..<channels * places).map { Double(bytes[$0 % places * channels + $0 / places]) }
        case let .floats(numbers, _): return numbers.map { Double($0) }
        case let .integers(numbers, _): return numbers.map { Double($0) }
        }
    }

    /// The bytes of a golden file, little-endian as every Apple processor is.
    public var data: Data {
        switch self {
        case let .pixels(bytes, _, _, _): return Data(bytes)
        case let .floats(numbers, _): return numbers.withUnsafeBytes { Data($0) }
        case let .integers(numbers, _): return numbers.withUnsafeBytes { Data($0) }
        }
    }
}

/// Where the values of an array lie in memory, the last axis fastest.
private func offsets(_ shape: [Int], _ strides: [Int]) -> [Int] {
    var found = [0]
    for (length, stride) in zip(shape, strides) {
        found = found.flatMap { start in (0..<length).map { start + $0 * stride } }
    }
    return found
}

/// Put RGB or grey bytes into the pixel buffer that a camera would deliver.
public func pixelBuffer(_ bytes: [UInt8], width: Int, height: Int, channels: Int) throws -> CVPixelBuffer {
    guard channels == 1 || channels == 3, bytes.count == width * height * channels else {
        throw PipelineError("\(bytes.count) bytes are not a picture of \(width) x \(height) in RGB or grey")
    }
    let attributes = [kCVPixelBufferIOSurfacePropertiesKey as String: [String: Any]()] as CFDictionary
    let format = channels == 1 ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
    var made: CVPixelBuffer?
    let status = CVPixelBufferCreate(kCFAllocatorDefault, width, height, format, attributes, &made)
    guard status == kCVReturnSuccess, let buffer = made else {
        throw PipelineError("no pixel buffer of \(width) x \(height) (status \(status))")
    }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let base = CVPixelBufferGetBaseAddress(buffer) else {
        throw PipelineError("a pixel buffer without memory")
    }
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    for row in 0..<height {
        let line = base.advanced(by: row * stride).assumingMemoryBound(to: UInt8.self)
        for column in 0..<width {
            let source = (row * width + column) * channels
            if channels == 1 {
                line[column] = bytes[source]
                continue
            }
            line[column * 4] = bytes[source + 2]
            line[column * 4 + 1] = bytes[source + 1]
            line[column * 4 + 2] = bytes[source]
            line[column * 4 + 3] = 255
        }
    }
    return buffer
}
