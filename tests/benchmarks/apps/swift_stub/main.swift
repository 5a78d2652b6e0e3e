import XCTest

XCTMain([testCase([("testEveryVariantOnEveryComputeUnit", asyncTest(BenchTests.testEveryVariantOnEveryComputeUnit))])])
