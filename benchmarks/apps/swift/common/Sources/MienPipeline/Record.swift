import CoreML
import Foundation

/// One measurement: a variant on a choice of compute units. Times are in milliseconds.
public struct Record: Encodable {
    public let id: String
    public let variant: String
    public let units: String
    public let device: Device
    public let load_ms: Double
    public let first_ms: Double
    /// Every timed run: making the features of the inputs, each model, and from the inputs' bytes to all outputs.
    public let inputs_ms: [Double]
    public let models_ms: [String: [Double]]
    public let runs_ms: [Double]
    /// Every timed run of each graph alone, its inputs made before.
    public let graphs: [String: [Double]]
    public let peak_memory_bytes: Int
    public let notes: [String]
    public let scores: [ScoreError]
    public let photographs: [PhotographError]
}

/// How far the outputs are from the float pipeline's, each in its own units.
///
/// `from` is the first graph that ran here: of those that an app runs, or a stage that was fed float tensors, after
/// which all others followed. A difference is nil when it is not a finite number.
public struct ScoreError: Encodable {
    public let golden: String
    public let from: String
    public let differences: [String: Double?]

    init(golden: Golden, from: String, expected: [String: Value], found: [String: Value]) throws {
        self.golden = golden.name
        self.from = from
        differences = try largestDifferences(golden, expected: expected, found: found)
    }
}

/// How far inputs and outputs are from the float pipeline's where an app began with the photograph of a golden input, or
/// with its tensors where it has none.
///
/// `skipped` are the stages that were left out, `changed` the outputs of other bits than when none is; a finding is nil
/// when it is not a finite number.
public struct PhotographError: Encodable {
    public let golden: String
    public let differences: [String: Double?]
    public let skipped: [String]
    public let changed: [String]
    public let findings: [String: Double?]
}

/// The largest difference of each tensor; nil when it is not a finite number.
func largestDifferences(_ golden: Golden, expected: [String: Value], found: [String: Value]) throws -> [String: Double?] {
    var differences = [String: Double?]()
    for (name, value) in found {
        guard let known = expected[name]?.numbers, known.count == value.numbers.count else {
            throw PipelineError("\(golden.name) has no tensor \(name) of \(value.numbers.count) numbers")
        }
        var largest = 0.0
        for (one, other) in zip(known, value.numbers) {
            let error = abs(one - other)
            // Once NaN, always NaN: no comparison with it holds.
            if !(error <= largest) { largest = largest.isNaN ? largest : error }
        }
        differences.updateValue(largest.isFinite ? largest : nil, forKey: name)
    }
    return differences
}

/// What was measured on.
public struct Device: Encodable {
    public let model: String
    public let system: String
    public let isa: String
    public let cores: Int
    public let simulator: Bool

    /// This device.
    public static var current: Device {
        let process = ProcessInfo.processInfo
        #if os(iOS)
            let name = "iOS", key = "hw.machine"
        #else
            let name = "macOS", key = "hw.model"
        #endif
        #if arch(arm64)
            let isa = "arm64"
        #else
            let isa = "x86_64"
        #endif
        #if targetEnvironment(simulator)
            let simulator = true
        #else
            let simulator = false
        #endif
        return Device(
            model: systemText(key), system: "\(name) \(process.operatingSystemVersionString)", isa: isa,
            cores: process.processorCount, simulator: simulator)
    }
}

/// Ask the kernel for a text.
private func systemText(_ key: String) -> String {
    var size = 0
    sysctlbyname(key, nil, &size, nil, 0)
    guard size > 0 else { return "unknown" }
    var bytes = [CChar](repeating: 0, count: size)
    sysctlbyname(key, &bytes, &size, nil, 0)
    return String(cString: bytes)
}

/// The largest resident size of this process so far, in bytes.
func peakMemory() -> Int {
    var usage = rusage()
    getrusage(RUSAGE_SELF, &usage)
    return Int(usage.ru_maxrss)
}

/// Say what slows a device down.
func conditions(_ moment: String) -> [String] {
    let process = ProcessInfo.processInfo
    let states: [ProcessInfo.ThermalState: String] = [.fair: "fair", .serious: "serious", .critical: "critical"]
    var notes = [String]()
    if let state = states[process.thermalState] { notes.append("thermal state \(moment): \(state)") }
    if process.isLowPowerModeEnabled { notes.append("low power mode \(moment)") }
    return notes
}
