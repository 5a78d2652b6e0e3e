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
    /// Every timed run: the way from the inputs' bytes to the rating, by its steps.
    public let chain: [String: [Double]]
    /// Every timed run of each graph alone, its inputs made before.
    public let graphs: [String: [Double]]
    public let peak_memory_bytes: Int
    public let notes: [String]
    public let scores: [ScoreError]
}

/// How far a rating is from the float pipeline's, in its own units.
///
/// `from` is the first graph that ran here: the end-to-end one, or a stage that was fed float tensors, after
/// which all others followed. `points` is nil when the rating is no number.
public struct ScoreError: Encodable {
    public let golden: String
    public let from: String
    public let points: Double?

    init(golden: Golden, from: String, rating: Value?) throws {
        guard let found = rating?.numbers.first else { throw PipelineError("\(from) gave no rating") }
        let error = abs(Double(found) - golden.rating)
        self.golden = golden.name
        self.from = from
        points = error.isFinite ? error : nil
    }
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
