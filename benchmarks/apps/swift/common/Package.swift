// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "Appraisal",
    platforms: [.macOS(.v13), .iOS(.v16)],
    products: [.library(name: "Appraisal", targets: ["Appraisal"])],
    targets: [
        .target(name: "Appraisal"),
        // Copied and not processed: a command line build would not compile the models in it.
        .testTarget(name: "AppraisalTests", dependencies: ["Appraisal"], resources: [.copy("Payload")]),
    ]
)
