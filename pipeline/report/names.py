"""Chinese words for what pictures may show, to name clusters by where their own captions do not.

Broad on purpose: what a shop sells, what people photograph, what graphics draw.
"""

_WORDS = """
女装 男装 童装 连衣裙 上衣 裤子 外套 内衣 运动服 帽子 鞋子
运动鞋 高跟鞋 包 行李箱 眼镜 手表 首饰 手机 电脑 相机 耳机
电视 家用电器 厨房用品 餐具 灯 家具 沙发 床上用品 收纳 清洁用品
工具 玩具 乐器 文具 书 化妆品 护肤品 香水 药品 食品 水果 蔬菜
肉类 海鲜 甜点 零食 饮料 酒 茶 咖啡 菜肴 汽车 自行车 摩托车
飞机 船 火车 建筑 房间 城市 街道 道路 桥 商店 学校 医院 人物
女人 男人 孩子 老人 婴儿 家庭 人群 职业 手势 表情 笑脸 脸
头发 身体 动物 猫 狗 鸟 鱼 昆虫 野生动物 家畜 植物 花 树
风景 山 海 天空 云 天气 夜晚 雪 火 运动 球类 音乐 舞蹈 游戏
节日 婚礼 旅行 钱 时间 钟表 文字 数字 箭头 符号 标志 旗帜
地图 图表 截图 海报 包装 尺码表 二维码 几何图形 心形 图案 插画
空白图片
"""

CATEGORIES: tuple[str, ...] = tuple(_WORDS.split())
