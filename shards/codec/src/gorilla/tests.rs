use super::*;

fn decode_chunk(chunk: &[u8]) -> Result<Vec<(i64, u64)>, ChunkError> {
    let (mut times, mut values) = (vec![1], vec![2]);
    let result = decode_into(chunk, &mut times, &mut values);
    assert_eq!((times.len(), values.len()), (1 + result.unwrap_or(0), 1 + result.unwrap_or(0)));
    result.map(|_| times.into_iter().zip(values).skip(1).collect())
}

#[track_caller]
fn check(samples: &[(i64, u64)]) -> Vec<u8> {
    let chunk = encode_chunk(samples);
    assert!(chunk.len() <= HEADER_BYTES + (samples.len() * SAMPLE_BITS_MAX).div_ceil(8));
    assert_eq!(decode_chunk(&chunk).as_deref(), Ok(samples));
    let walked: Result<Vec<_>, _> = Samples::new(&chunk).expect("a whole chunk").collect();
    assert_eq!(walked.as_deref(), Ok(samples));
    for cut in 0..chunk.len() {
        let error = decode_chunk(&chunk[..cut]).expect_err("a cut chunk");
        assert!(error.offset_bits <= cut * 8, "{error}, cut at byte {cut}");
    }
    chunk
}

#[test]
fn a_chunk_by_hand() {
    assert_eq!(check(&[]), [0, 0]);
    assert_eq!(check(&[(1, 0)]), [0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Times 0, 10, 20, 31; values 0, 0, 1.0 (10 leading zeros cut to a window of 10 bits at 2), 1.0.
    let one = 1f64.to_bits();
    let chunk = check(&[(0, 0), (10, 0), (20, one), (31, one)]);
    assert_eq!(chunk[..12], [0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
    let bits: String = chunk[12..].iter().map(|byte| format!("{byte:08b}")).collect();
    let expect = ["0", "0", "11", "00010", "001010", "1111111111", "10", "00000000000001", "0"].concat();
    assert_eq!(bits, format!("{expect:0<48}"));
}

#[test]
fn every_code_of_a_time_at_its_limits() {
    let mut samples = vec![(0, 1), (0, 2)];
    let (mut time, mut delta) = (0i64, 0i64);
    for width in [14, 17, 20, 64] {
        let top = 1i64 << (width - 1).min(40);
        for dod in [top, top + 1, top - 1, 1 - top, -top, -top - 1, 1, -1, 0, i64::MAX, i64::MIN, i64::MIN + 1] {
            delta = delta.wrapping_add(dod);
            time = time.wrapping_add(delta);
            samples.push((time, 2));
        }
    }
    check(&samples);
}

#[test]
fn every_window_comes_back() {
    let mut samples = vec![(i64::MIN, 0), (i64::MAX, u64::MAX)];
    for leading in 0..64 {
        for trailing in 0..64 - leading {
            let xor = u64::MAX << (leading + trailing) >> leading;
            samples.push((5, samples[samples.len() - 1].1 ^ xor));
        }
    }
    check(&samples[..samples.len().min(300)]);
    assert_eq!(decode_chunk(&encode_chunk(&samples)).as_deref(), Ok(samples.as_slice()));
}

#[test]
fn damage_is_named() {
    let text = |chunk: &[u8]| decode_chunk(chunk).expect_err("damaged").to_string();
    assert_eq!(text(&[0]), "chunk is damaged at bit 0: too short for its count of samples");
    assert_eq!(text(&[0xff, 0xff, 0, 0, 0, 0]), "chunk is damaged at bit 48: too short for its count of samples");
    let mut chunk = vec![0, 1];
    chunk.extend([0xff; 12]);
    assert_eq!(text(&chunk), "chunk is damaged at bit 16: a time has more than 64 bits");
    // A window of 31 leading zeros and 34 bits.
    let mut chunk = vec![0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    chunk.extend([0b1111_1111, 0b0001_0000, 0, 0, 0, 0, 0]);
    assert_eq!(text(&chunk), "chunk is damaged at bit 98: leading zeros and length of a value exceed 64 bits");
}

#[test]
fn an_open_stream_ends_where_it_is_told() {
    let samples = [(1_000, 5), (2_000, 6), (3_000, 6)];
    let chunk = encode_chunk(&samples);
    let bits = &chunk[HEADER_BYTES..];
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let whole = bits.len() * 8;
    let used = (0..=whole).find(|&len| decode_bits_into(3, bits, len, &mut times, &mut values).is_ok());
    let used = used.expect("the whole stream at least");
    assert!(whole - used < 8, "only padding is left out");
    assert_eq!((times, values), (vec![1_000, 2_000, 3_000], vec![5, 6, 6]));
    assert!(decode_bits_into(1, bits, whole + 1, &mut Vec::new(), &mut Vec::new()).is_err(), "longer than the bytes");
    assert!(Samples::from_bits(3, bits, used - 1).is_ok_and(|mut walk| walk.any(|sample| sample.is_err())));
}
